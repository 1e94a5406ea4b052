"""Factors of items that the model does not know, estimated from what the catalogue says of them.

A catalogue may list a million items that nobody has touched, and each would take as much memory and time of every
request as one that the model knows. So the latest additions have estimated factors, and besides those what is asked
for, such as what is popular now.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from models.growing_array import GrowingArray

MOST = 50_000
"""Unknown items that have factors at a time; with 64 factors they take 13 MB, and 0.4 ms of a request."""
_NOBODY = np.empty(0, np.int64)


@dataclass(frozen=True)
class Estimated:
    """One consistent view.

    Attributes:
        items: (e,) int64 positions of the items that have factors.
        factors: (e, f) float32.
        known: (e,) bool, whether there was anything to estimate them from; their factors are zeros otherwise.
        rows: (n_extra,) int32: the row of each unknown item in these, -1 where it has none.
    """

    items: np.ndarray
    factors: np.ndarray
    known: np.ndarray
    rows: np.ndarray


class NewItems:
    """Which unknown items have factors, and these. Positions count the model's items first, then the unknown ones.

    Args:
        n_items: how many items the model knows.
        n_factors: numbers of a vector.
        estimate: positions (m,) -> factors (m, n_factors) float32; zeros where nothing is known of an item.
        most: so many have factors at a time.
    """

    def __init__(
        self, n_items: int, n_factors: int, estimate: Callable[[np.ndarray], np.ndarray], most: int = MOST
    ) -> None:
        self._n_items = n_items
        self._estimate = estimate
        self._most = most
        self._items = GrowingArray(_NOBODY)
        self._factors = GrowingArray(np.empty((0, n_factors), np.float32))
        self._rows = GrowingArray(np.empty(0, np.int32), fill=-1)
        self._added_ms = GrowingArray(np.empty(0, np.int64))
        self._stale: dict[int, None] = {}  # have factors, of what was said of them before
        self._waiting = _NOBODY  # have none, and may be later than some that have
        self._wanted: dict[int, None] = {}  # have none, and are asked for
        self._kept = _NOBODY

    @property
    def items(self) -> np.ndarray:
        """(e,) positions of the items that have factors."""
        return self._items.values

    @property
    def behind(self) -> int:
        """How many items wait for factors, or for new ones."""
        return len(self._stale) + len(self._waiting) + len(self._wanted)

    def take(self, places: np.ndarray, added_ms: np.ndarray) -> None:
        """Items are new, or what is said of them has changed.

        Args:
            places: (m,) distinct positions of unknown items.
            added_ms: (m,) when each of them was added.
        """
        if not len(places):
            return
        extra = places - self._n_items
        self._rows.grow(int(extra.max()) + 1)
        self._added_ms.grow(int(extra.max()) + 1)
        self._added_ms.values[extra] = added_ms
        has = self._rows.values[extra] >= 0
        self._stale.update(dict.fromkeys(places[has].tolist()))
        self._waiting = np.union1d(self._waiting, places[~has])
        if len(self._waiting) > 2 * self._most:
            self._waiting = np.sort(self._latest_first(self._waiting)[: self._most])

    def refresh(self, places: Iterable[int]) -> None:
        """These have factors that are out of date."""
        self._stale.update(dict.fromkeys(places))

    def want(self, places: np.ndarray) -> None:
        """Of these unknown items (m,), and of no others, factors are wanted however old the items are."""
        places = places[: self._most]
        self._kept = np.sort(places)
        self._wanted = dict.fromkeys(places[self._rows.values[places - self._n_items] < 0].tolist())

    def ask(self, place: int) -> None:
        """Factors of this unknown item are wanted for now."""
        if self._rows.values[place - self._n_items] < 0:
            self._wanted[place] = None

    def work(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Estimate the factors of at most so many items.

        Returns:
            Positions (m,) of those that have new factors, and (d,) of those that have none any more.
        """
        wanted = list(self._wanted)[:most]
        for place in wanted:
            del self._wanted[place]
        stale = list(self._stale)[: most - len(wanted)]
        for place in stale:
            del self._stale[place]
        fresh = np.array(wanted, np.int64)
        self._waiting = np.setdiff1d(self._waiting, fresh)
        chosen = self._latest_first(self._waiting)[: most - len(stale) - len(fresh)]
        gone = self._make_room(fresh, chosen)
        self._waiting = np.setdiff1d(self._waiting, chosen)
        fresh = np.concatenate([fresh, chosen])[: self._most - len(self._items.values) + len(gone)]
        self._place(fresh, gone)
        for place in gone.tolist():
            self._stale.pop(place, None)
        stale = [place for place in stale if self._rows.values[place - self._n_items] >= 0]
        todo = np.concatenate([np.array(stale, np.int64), fresh])
        if len(todo):
            self._factors.values[self._rows.values[todo - self._n_items]] = self._estimate(todo)
        return todo, gone

    def factors_of(self, places: np.ndarray) -> np.ndarray:
        """(m, f) float32 of items that have factors."""
        return self._factors.values[self._rows.values[places - self._n_items]]

    def view(self, n_extra: int) -> Estimated:
        """The present state of `n_extra` unknown items, as copies."""
        self._rows.grow(n_extra)
        factors = self._factors.values.copy()
        return Estimated(self.items.copy(), factors, (factors != 0).any(axis=1), self._rows.values[:n_extra].copy())

    def _make_room(self, wanted: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Which items give their place to others: the earliest added, and to `chosen` only where those are later."""
        free = self._most - len(self._items.values)
        need = len(wanted) + len(chosen) - free
        if need <= 0:
            return _NOBODY
        earliest = self._latest_first(np.setdiff1d(self._items.values, self._kept))[::-1]
        for_wanted = max(0, len(wanted) - free)
        for_chosen = need - for_wanted
        leaving = earliest[for_wanted : for_wanted + for_chosen]
        coming = chosen[len(chosen) - for_chosen :][: len(leaving)]
        later = int((self._added(coming) > self._added(leaving)).sum())  # the one falls, the other rises
        return earliest[: for_wanted + later]

    def _place(self, fresh: np.ndarray, gone: np.ndarray) -> None:
        """Give `fresh` the rows of those that have gone, and new ones behind."""
        freed = self._rows.values[gone - self._n_items].astype(np.int64)
        self._rows.values[gone - self._n_items] = -1
        used = len(self._items.values)
        grown = used + len(fresh) - len(freed)
        rows = np.concatenate([freed, np.arange(used, grown)])
        self._items.grow(grown)
        self._factors.grow(grown)
        self._rows.values[fresh - self._n_items] = rows
        self._items.values[rows] = fresh

    def _added(self, places: np.ndarray) -> np.ndarray:
        return self._added_ms.values[places - self._n_items]

    def _latest_first(self, places: np.ndarray) -> np.ndarray:
        return places[np.lexsort((places, self._added(places)))[::-1]]
