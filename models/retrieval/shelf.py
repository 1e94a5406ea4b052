"""The shelf: which items may be shown now, in which categories they stand, and what to fall back on.

Positions count the model's items first, in the order of its vocabulary, then the `extra` items that the catalogue
has and the model does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.content.content_map import ContentMap
from models.content.description import NOTHING, Description
from models.retrieval.id_table import IdTable

_NOBODY = np.empty(0, np.int64)


@dataclass(frozen=True)
class Shelf:
    """One consistent view, replaced as a whole.

    Attributes:
        visible: (n_items + n_extra,) bool, False for hidden and deleted items.
        categories: category -> (m,) int64, rising: the positions of its items, at least one. The arrays never change.
        extra_factors: (n_extra, f) float32, estimated factors of the items unknown to the model.
        extra_known: (n_extra,) bool, whether there is anything to estimate them from.
        trending: positions, best first, with `trending_scores` (share of the leader's, 0 to 1).
        popular: positions of the model's items by training popularity, with `popular_scores`.
        newest: positions by time of addition, newest first.
    """

    visible: np.ndarray
    categories: dict[str, np.ndarray]
    extra_factors: np.ndarray
    extra_known: np.ndarray
    trending: np.ndarray
    trending_scores: np.ndarray
    popular: np.ndarray
    popular_scores: np.ndarray
    newest: np.ndarray


@dataclass(frozen=True)
class ShelfItem:
    """What the shelf needs to know of one item of the catalogue; `description` where a content map reads it."""

    item_id: bytes
    categories: tuple[str, ...]
    visible: bool
    added_ms: int
    description: Description = NOTHING


class ShelfBuilder:
    """Keeps the arrays behind a `Shelf` up to date, item by item, so that a change costs no pass over the catalogue.

    Args:
        item_ids: the model's vocabulary, UTF-8.
        item_counts: (n_items,) users in the training data.
        item_factors: (n_items, f) float32, from which the factors of new items are estimated.
        newest_limit: how many of the latest additions are kept in order.
        content: gives new items their factors; None where their categories do.
    """

    def __init__(
        self,
        item_ids: Sequence[bytes],
        item_counts: np.ndarray,
        item_factors: np.ndarray,
        newest_limit: int = 1000,
        content: ContentMap | None = None,
    ) -> None:
        self.n_items = len(item_ids)
        self.ids = list(item_ids)
        self.table = IdTable(self.ids)
        self._factors = item_factors
        self._newest_limit = newest_limit
        self._visible = np.ones(self.n_items, bool)
        self._categories: dict[str, np.ndarray] = {}
        self._names: list[tuple[str, ...]] = [()] * self.n_items
        self._content = content
        self._extra_factors = np.zeros((0, item_factors.shape[1]), np.float32)
        self._added_ms = np.zeros(self.n_items, np.int64)
        self._popular = np.argsort(-item_counts, kind="stable")
        self._popular = self._popular[item_counts[self._popular] > 0]
        most = max(int(item_counts.max(initial=0)), 1)
        self._popular_scores = (item_counts[self._popular] / most).astype(np.float32)
        self._trending = np.empty(0, np.int64)
        self._trending_scores = np.empty(0, np.float32)
        self._shelf: Shelf | None = None

    def update(self, items: Sequence[ShelfItem]) -> None:
        """Take over items that were added or changed."""
        self._shelf = None
        places = self.places([item.item_id for item in items])
        new = {item.item_id: item for item, place in zip(items, places.tolist(), strict=True) if place < 0}
        if new:
            self.table.extend(list(new))
            self.ids.extend(new)
            places = self.places([item.item_id for item in items])
            grown = len(self.ids)
            self._visible = _grow(self._visible, grown)
            self._added_ms = _grow(self._added_ms, grown)
            self._names += [()] * len(new)
            self._extra_factors = _grow(self._extra_factors, grown - self.n_items)
        moved: dict[str, dict[int, bool]] = {}  # category -> position -> whether the item is in it now
        for item, place in zip(items, places.tolist(), strict=True):
            self._visible[place] = item.visible
            self._added_ms[place] = item.added_ms
            for name in self._names[place]:
                moved.setdefault(name, {})[place] = False
            for name in item.categories:
                moved.setdefault(name, {})[place] = True
            self._names[place] = item.categories
        if self._content is not None and (places >= self.n_items).any():
            extra = np.flatnonzero(places >= self.n_items)
            factors = self._content.factors([items[row].description for row in extra.tolist()])
            self._extra_factors[places[extra] - self.n_items] = factors
        for name, places_of in moved.items():
            members = _moved(self._categories.get(name, _NOBODY), places_of)
            if len(members):
                self._categories[name] = members
            else:
                self._categories.pop(name, None)

    def places(self, item_ids: Sequence[bytes]) -> np.ndarray:
        """(n,) int64 positions, -1 for an unknown id."""
        return self.table.find(b"\n".join(item_ids), len(item_ids))

    def set_trending(self, places: np.ndarray, shares: np.ndarray) -> None:
        """Take over the live popularity: positions and shares of the leader's, best first."""
        self._trending, self._trending_scores = places, shares.astype(np.float32)

    def extra_added_ms(self) -> np.ndarray:
        """(n_extra,) float64: when each item unknown to the model was added."""
        return self._added_ms[self.n_items :].astype(np.float64)

    def shelf(self) -> Shelf:
        """The present view. Its arrays are copies: a request that holds it sees no half-made change."""
        if self._shelf is None:
            self._shelf = self._copy()
        return replace(self._shelf, trending=self._trending, trending_scores=self._trending_scores)

    def _copy(self) -> Shelf:
        added = np.flatnonzero(self._added_ms)
        newest = added[np.argsort(-self._added_ms[added], kind="stable")][: self._newest_limit]
        categories = dict(self._categories)
        extra_factors = self._extra_factors.copy()
        if self._content is None:  # the means move with every item that comes into a category
            extra_factors = estimate_factors(self._names[self.n_items :], categories, self._factors)
        return Shelf(
            visible=self._visible.copy(),
            categories=categories,
            extra_factors=extra_factors,
            extra_known=(extra_factors != 0).any(axis=1),
            trending=self._trending,
            trending_scores=self._trending_scores,
            popular=self._popular,
            popular_scores=self._popular_scores,
            newest=newest,
        )


def estimate_factors(
    memberships: Sequence[Sequence[str]], categories: dict[str, np.ndarray], factors: np.ndarray
) -> np.ndarray:
    """Factors for items without interactions: the mean of the mean factors of their categories.

    Args:
        memberships: categories of each new item.
        categories: category -> (m,) int64, rising: the positions of its items.
        factors: (n_items, f) float32.

    Returns:
        (len(memberships), f) float32; zeros where no category has a trained item.
    """
    n_items = len(factors)
    wanted = {name for names in memberships for name in names}
    means = {}
    for name in wanted:
        members = categories.get(name, _NOBODY)
        members = members[: np.searchsorted(members, n_items)]
        if len(members):
            means[name] = factors[members].mean(axis=0)
    result = np.zeros((len(memberships), factors.shape[1]), np.float32)
    for row, names in enumerate(memberships):
        known = [means[name] for name in names if name in means]
        if known:
            result[row] = np.mean(known, axis=0)
    return result


def _moved(members: np.ndarray, places: Mapping[int, bool]) -> np.ndarray:
    """The members, rising, after these positions have come in (True) or gone (False)."""
    added = [place for place, comes in places.items() if comes]
    return np.union1d(np.setdiff1d(members, np.array(list(places), np.int64)), np.array(added, np.int64))


def _grow(array: np.ndarray, length: int) -> np.ndarray:
    grown = np.zeros((length, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
