"""The list before there is any model: what is trending, then what is new, without what the request leaves out."""

import time
from collections.abc import Iterator, Sequence

from configs.event_types import EventTypes
from deployments.http.schemas import RecommendRequest, id_text
from deployments.recommend.ranked_list import RankedList
from features.items.catalogue import Catalogue, Item
from features.items.trending import read_popularity
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.users.history import decode_history, decode_seen
from features.users.user_features import UserFeatures

AGE_S = 2.0
WINDOW = "7d"


class PopularList:
    """Makes lists for whoever asks; what is trending is read anew after `AGE_S`.

    Args:
        client, keys: the online store's.
        catalogue: kept up to date by its owner.
        types: they say what counts as seen, and what as a "no".
    """

    def __init__(self, client: StoreClient, keys: Keys, catalogue: Catalogue, types: EventTypes) -> None:
        self._client, self._keys, self._catalogue, self._types = client, keys, catalogue, types
        self._trending: list[tuple[str, float]] = []
        self._read_at = -AGE_S

    async def find(self, request: RecommendRequest, features: UserFeatures | None) -> RankedList:
        """The list of one request. Raises `features.redis.errors.StoreError`."""
        if time.monotonic() - self._read_at >= AGE_S:
            [found] = await read_popularity(self._client, self._keys, [WINDOW])
            texts = [item_id.decode() for item_id in found.item_ids]
            self._trending = list(zip(texts, found.weights.tolist(), strict=True))
            self._read_at = time.monotonic()
        out = {id_text(item) for item in request.filters.exclude_items} | self._left_out(request, features)
        chosen: list[tuple[str, float, str]] = []
        for item_id, score, source in self._candidates():
            if item_id not in out and _wanted(self._catalogue.items.get(item_id), request):
                chosen.append((item_id, score, source))
                out.add(item_id)
            if len(chosen) == request.top_k:
                break
        item_ids = [item_id for item_id, _, _ in chosen]
        return RankedList(
            item_ids=item_ids,
            scores=[score for _, score, _ in chosen],
            sources=[source for _, _, source in chosen],
            reasons=(),
            propensities=None,
            pool=[],
            cold_start=True,
            item_id_type="int" if all(_is_whole(item_id) for item_id in item_ids) else "str",
            model_version=None,
            catalogue_version=self._catalogue.version,
        )

    def _candidates(self) -> Iterator[tuple[str, float, str]]:
        for item_id, weight in self._trending:
            yield item_id, weight, "trending"
        newest: Sequence[Item] = sorted(
            self._catalogue.items.values(), key=lambda item: (-item.created_ms, item.item_id)
        )
        for item in newest:
            yield item.item_id, 0.0, "newest"

    def _left_out(self, request: RecommendRequest, features: UserFeatures | None) -> set[str]:
        """What the user has seen, unless the request asks for it again, and what the user refused last."""
        if features is None:
            return set()
        history = decode_history(features.history)
        texts = [item_id.decode() for item_id in history.item_ids]
        judged = self._types.judgement_codes[history.codes]
        refused = self._types.is_refusal(history.codes, history.values)
        last = {item_id: no for item_id, judges, no in zip(texts, judged, refused, strict=True) if judges}
        out = {item_id for item_id, no in last.items() if no}
        if request.exclude_seen:
            seen = self._types.seen_codes[history.codes]
            out |= {item_id for item_id, met in zip(texts, seen, strict=True) if met}
            out |= {item_id.decode() for item_id in decode_seen(features.older_seen)}
        return out


def _wanted(item: Item | None, request: RecommendRequest) -> bool:
    include, exclude = request.filters.include_categories, request.filters.exclude_categories
    if item is None:  # nobody has described it
        return include is None
    names = set(item.categories)
    return item.recommendable and (include is None or bool(names & set(include))) and not names & set(exclude)


def _is_whole(item_id: str) -> bool:
    return item_id.isascii() and item_id.isdigit() and str(int(item_id)) == item_id
