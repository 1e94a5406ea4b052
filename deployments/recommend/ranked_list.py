"""The ordered list of one request: made from candidates, varied by exploration, dressed as an answer."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from deployments.http.schemas import typed_id
from deployments.recommend.messages import Answer, Reply
from features.items.catalogue import Item
from models.ranking.diversity import rerank
from models.retrieval.candidates import Source

_SOURCES = [source.name.lower() for source in Source]
Reasons = tuple[tuple[bytes, float], ...]


class RankedList(NamedTuple):
    """The list to be shown, best first, with what else could have stood there.

    `pool` holds the candidates from the last place on: what exploration draws from.
    """

    item_ids: list[str]
    scores: list[float]
    sources: list[str]
    reasons: Sequence[Reasons]
    propensities: tuple[float, ...] | None
    pool: list[tuple[str, float]]
    cold_start: bool
    item_id_type: str
    model_version: str | None
    catalogue_version: int
    shown: bytes = b""
    """The recommendations as JSON; empty before they are written, and when exploration has changed the list since."""


def rank(
    reply: Reply, answer: Answer, learned: np.ndarray | None, top_k: int, diversity: float, pooled: bool
) -> RankedList:
    """Order the candidates and keep the best `top_k`.

    Args:
        learned: the ranker's scores of the first `folded` candidates; None where the model has no ranker: then the
            scores of retrieval count.
        diversity: see `models.ranking.diversity`.
        pooled: whether what exploration may draw from is kept.
    """
    item_ids = answer.item_ids.decode().split("\n") if answer.item_ids else []
    scores = np.frombuffer(answer.scores, "<f4")
    personal = answer.folded if learned is not None else len(item_ids)
    if learned is not None:
        scores = np.concatenate([learned, scores[personal:]])
    keep = len(item_ids) if pooled else top_k
    if diversity > 0 and personal:
        factors = np.frombuffer(answer.factors, np.float32).reshape(len(item_ids), -1)
        order = rerank(scores[:personal], factors[:personal], diversity, keep)
    else:
        # Retrieval's own order is kept where scores are equal, and wherever there is no ranker.
        order = np.arange(personal) if learned is None else np.argsort(-learned, kind="stable")
    # What only fills the list has scores of another kind, so it stays behind.
    places = [*order[:keep].tolist(), *range(personal, len(item_ids))][:keep]
    shown = places[:top_k]
    return RankedList(
        item_ids=[item_ids[place] for place in shown],
        scores=scores[shown].tolist() if shown else [],
        sources=[_SOURCES[answer.sources[place]] for place in shown],
        reasons=[answer.reasons[place] for place in shown] if answer.reasons else (),
        propensities=None,
        pool=[(item_ids[place], float(scores[place])) for place in places[top_k - 1 :]] if pooled else [],
        cold_start=answer.cold_start,
        item_id_type=reply.item_id_type,
        model_version=reply.version,
        catalogue_version=reply.catalogue_version,
    )


def explore(ranked: RankedList, share: float, generator: np.random.Generator) -> RankedList:
    """Give the last place, in a `share` of lists, to a candidate drawn evenly from the pool (which includes the one
    that would stand there anyway), and note with which probability each place got its item.

    Args:
        share: how many of the lists are explored, 0 to 1.
        generator: the source of chance.
    """
    if share == 0 or len(ranked.pool) < 2:
        return ranked
    certain = (1.0,) * (len(ranked.item_ids) - 1)
    even = share / len(ranked.pool)
    place = int(generator.integers(len(ranked.pool))) if generator.random() < share else 0
    if place == 0:
        return ranked._replace(propensities=(*certain, 1 - share + even))
    item_id, score = ranked.pool[place]
    return ranked._replace(
        item_ids=[*ranked.item_ids[:-1], item_id],
        scores=[*ranked.scores[:-1], score],
        sources=[*ranked.sources[:-1], "exploration"],
        reasons=(*ranked.reasons[:-1], ()) if ranked.reasons else (),
        propensities=(*certain, even),
        shown=b"",
    )


def dress(ranked: RankedList, items: Mapping[str, Item], explained: bool) -> list[dict[str, object]]:
    """The recommendations as the answer shows them: ids as the data set types them, with titles, genres and reasons."""
    shown: list[dict[str, object]] = []
    for place, (item_id, score, source) in enumerate(zip(ranked.item_ids, ranked.scores, ranked.sources, strict=True)):
        item = items.get(item_id)
        entry: dict[str, object] = {
            "item_id": typed_id(item_id, ranked.item_id_type),
            "score": score,
            "rank": place + 1,
            "title": item.title if item else item_id,  # where nobody has described it
            "genres": item.categories if item else [],
            "source": source,
        }
        if explained:
            reasons = ranked.reasons[place] if ranked.reasons else ()
            entry["reason"] = [
                {
                    "item_id": typed_id(text, ranked.item_id_type),
                    "title": items[text].title if text in items else text,
                    "share": share,
                }
                for text, share in ((item_id.decode(), share) for item_id, share in reasons)
            ]
        shown.append(entry)
    return shown
