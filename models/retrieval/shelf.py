"""The shelf: which items may be shown now, in which categories they stand, and what to fall back on.

Positions count the model's items first, in the order of its vocabulary, then the `extra` items that the catalogue
has and the model does not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.content.content_map import ContentMap
from models.content.description import NOTHING, Description
from models.growing_array import GrowingArray
from models.retrieval.id_table import IdTable
from models.retrieval.new_items import MOST, Estimated, NewItems

_NOBODY = np.empty(0, np.int64)


@dataclass(frozen=True)
class Shelf:
    """One consistent view, replaced as a whole.

    Attributes:
        visible: (n_items + n_extra,) bool, False for hidden and deleted items.
        categories: category -> (m,) int64, rising: the positions of its items, at least one. The arrays never change.
        estimated: the factors of items unknown to the model, of those that have any.
        trending: positions, best first, with `trending_scores` (share of the leader's, 0 to 1).
        popular: positions of the model's items by training popularity, with `popular_scores`.
        newest: positions by time of addition, newest first.
    """

    visible: np.ndarray
    categories: dict[str, np.ndarray]
    estimated: Estimated
    trending: np.ndarray
    trending_scores: np.ndarray
    popular: np.ndarray
    popular_scores: np.ndarray
    newest: np.ndarray


@dataclass(frozen=True)
class ShelfItem:
    """What the shelf needs to know of one item of the catalogue."""

    item_id: bytes
    categories: tuple[str, ...]
    visible: bool
    added_ms: int


Describe = Callable[[Sequence[bytes]], list[Description]]
"""What is written of items, by their ids; of those that the catalogue does not list, `NOTHING`."""


def _nothing_written(item_ids: Sequence[bytes]) -> list[Description]:
    return [NOTHING] * len(item_ids)


class ShelfBuilder:
    """Keeps the arrays behind a `Shelf` up to date, item by item, so that a change costs no pass over the catalogue.

    Args:
        item_ids: the model's vocabulary, UTF-8.
        item_counts: (n_items,) users in the training data.
        item_factors: (n_items, f) float32, from which the factors of new items are estimated.
        newest_limit: how many of the latest additions are kept in order.
        content: gives new items their factors; None where their categories do.
        describe: what the content map reads.
        most_new: so many of the items that the model does not know have estimated factors (`NewItems`).
    """

    def __init__(
        self,
        item_ids: Sequence[bytes],
        item_counts: np.ndarray,
        item_factors: np.ndarray,
        newest_limit: int = 1000,
        content: ContentMap | None = None,
        describe: Describe = _nothing_written,
        most_new: int = MOST,
    ) -> None:
        self.n_items = len(item_ids)
        self.ids = list(item_ids)
        self.table = IdTable(self.ids)
        self._factors = item_factors
        self._newest_limit = newest_limit
        self._visible = GrowingArray(np.ones(self.n_items, bool))
        self._categories: dict[str, np.ndarray] = {}
        self._names: list[tuple[str, ...]] = [()] * self.n_items
        self._content = content
        self._describe = describe
        self.new_items = NewItems(self.n_items, item_factors.shape[1], self._estimate, most_new)
        self._added_ms = GrowingArray(np.zeros(self.n_items, np.int64))
        self._newest = _NOBODY
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
        places = self.add([item.item_id for item in items])
        last = {place: row for row, place in enumerate(places.tolist())}  # of one that is there twice the later counts
        places, items = np.array(list(last), np.int64), [items[row] for row in last.values()]
        before, added_ms = self._added_ms.values[places], np.array([item.added_ms for item in items], np.int64)
        self._visible.values[places] = [item.visible for item in items]
        self._added_ms.values[places] = added_ms
        self._follow_newest(places, bool((added_ms < before).any()))
        moved: dict[str, dict[int, bool]] = {}  # category -> position -> whether the item is in it now
        means: set[str] = set()  # categories in which other items of the model are now
        for item, place in zip(items, places.tolist(), strict=True):
            names = self._names[place]
            if names == item.categories:
                continue
            for name in names:
                moved.setdefault(name, {})[place] = False
            for name in item.categories:
                moved.setdefault(name, {})[place] = True
            if place < self.n_items:
                means.update(set(names) ^ set(item.categories))
            self._names[place] = item.categories
        for name, places_of in moved.items():
            members = _moved(self._categories.get(name, _NOBODY), places_of)
            if len(members):
                self._categories[name] = members
            else:
                self._categories.pop(name, None)
        extra = places >= self.n_items
        self.new_items.take(places[extra], added_ms[extra])
        if self._content is None and means and len(self.new_items.items):
            estimated = self.new_items.items.tolist()
            self.new_items.refresh([place for place in estimated if not means.isdisjoint(self._names[place])])

    def add(self, item_ids: Sequence[bytes]) -> np.ndarray:
        """(n,) int64 positions of items; those that are new get the next ones, and room in all arrays at once."""
        places = self.places(item_ids)
        new = dict.fromkeys(item_id for item_id, place in zip(item_ids, places.tolist(), strict=True) if place < 0)
        if not new:
            return places
        self._shelf = None
        self.table.extend(list(new))
        self.ids.extend(new)
        self._visible.grow(len(self.ids))
        self._added_ms.grow(len(self.ids))
        self._names += [()] * len(new)
        return self.places(item_ids)

    def estimate(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Estimate the factors of at most so many items that wait for them; see `NewItems.work`."""
        if self.new_items.behind:
            self._shelf = None
        return self.new_items.work(most)

    def places(self, item_ids: Sequence[bytes]) -> np.ndarray:
        """(n,) int64 positions, -1 for an unknown id."""
        return self.table.find(b"\n".join(item_ids), len(item_ids))

    def set_trending(self, places: np.ndarray, shares: np.ndarray) -> None:
        """Take over the live popularity: positions and shares of the leader's, best first."""
        self._trending, self._trending_scores = places, shares.astype(np.float32)

    def shelf(self) -> Shelf:
        """The present view. Its arrays are copies: a request that holds it sees no half-made change."""
        if self._shelf is None:
            self._shelf = self._copy()
        return replace(self._shelf, trending=self._trending, trending_scores=self._trending_scores)

    def _copy(self) -> Shelf:
        return Shelf(
            visible=self._visible.values.copy(),
            categories=dict(self._categories),
            estimated=self.new_items.view(len(self.ids) - self.n_items),
            trending=self._trending,
            trending_scores=self._trending_scores,
            popular=self._popular,
            popular_scores=self._popular_scores,
            newest=self._newest,
        )

    def _estimate(self, places: np.ndarray) -> np.ndarray:
        if self._content is None:
            names = [self._names[place] for place in places.tolist()]
            return estimate_factors(names, self._categories, self._factors)
        return self._content.factors(self._describe([self.ids[place] for place in places.tolist()]))

    def _follow_newest(self, places: np.ndarray, earlier: bool) -> None:
        """Keep the latest additions in order; all items are looked at only where one has become earlier."""
        added_ms = self._added_ms.values
        among = np.arange(len(added_ms)) if earlier else np.union1d(self._newest, places)
        among = among[added_ms[among] != 0]
        self._newest = among[np.argsort(-added_ms[among], kind="stable")][: self._newest_limit]


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
    if len(added) == len(places) and (not len(members) or min(added) > members[-1]):  # items that are all new
        return np.concatenate([members, np.array(sorted(added), np.int64)])
    return np.union1d(np.setdiff1d(members, np.array(list(places), np.int64)), np.array(added, np.int64))
