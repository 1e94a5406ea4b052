"""What `Ranking` and `Retrieval` say to each other: in the bytes that the online store and numpy hold."""

from typing import NamedTuple

from deployments.recommend.ranker_features import NO_AFFINITIES, Affinities


class Question(NamedTuple):
    """One user's request, in the bytes that the online store holds: nothing is decoded twice on the way."""

    user_id: bytes
    history: bytes | None
    older_seen: bytes | None
    n: int
    exclude_seen: bool
    exclude_items: tuple[bytes, ...]
    include_categories: tuple[str, ...] | None
    exclude_categories: tuple[str, ...]
    affinities: Affinities = NO_AFFINITIES
    with_factors: bool = False
    with_reasons: bool = False


class Answer(NamedTuple):
    """Candidates, best first: ids joined by newlines, scores float32, sources uint8
    (`models.retrieval.candidates.Source`), and how many of them, from the first, a learned ranker orders.

    Where they were asked for: factors (k, f) float32, and for each candidate the history items that speak for it, with
    their shares.
    """

    item_ids: bytes
    scores: bytes
    sources: bytes
    cold_start: bool
    folded: int = 0
    factors: bytes = b""
    reasons: tuple[tuple[tuple[bytes, float], ...], ...] = ()


class Reply(NamedTuple):
    """Answers to a batch, all by one model version; None when the slot holds no usable model.

    For a version with a learned ranker: where its bundle lies, the candidate block of the features of all answers'
    first `folded` candidates (float32, those that its ranker reads: `models.ranking.ranker.Ranker.block_features`), and
    as of when (`at_ms`).
    """

    version: str | None
    item_id_type: str
    catalogue_version: int
    answers: list[Answer]
    bundle: str = ""
    features: bytes = b""
    at_ms: float = 0.0
