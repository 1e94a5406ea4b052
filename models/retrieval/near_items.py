"""Near counts that go on while a model serves, in the positions of its shelf."""

from collections.abc import Callable, Sequence

import numpy as np

from models.relations.near_counts import NearCounts
from models.relations.near_lists import near_features, nearest

MOST_NEW = 100_000
"""Items that the model does not know of which pairs are counted, at most: anybody may send events of invented ones."""


class NearItems:
    """The counts of one model and, by their ids, of items that it does not know: each has a row from its first event
    on, and a place on the shelf once the catalogue has it.

    Args:
        counts: of the model's `n_items` items, by position.

    Attributes:
        left_out: events of further new items, which are not counted.
    """

    def __init__(self, counts: NearCounts, n_items: int, most_new: int = MOST_NEW) -> None:
        self.counts = counts
        self.left_out = 0
        self._n_items, self._most_new = n_items, most_new
        self._row_of: dict[bytes, int] = {}
        self._waiting: set[bytes] = set()
        self._places = np.empty(0, np.int64)  # of the new rows on the shelf, -1 for none yet
        self._rows = np.empty(0, np.int64)  # of the shelf's places behind the model's, -1 for none yet

    def event_rows(self, item_ids: Sequence[bytes], places: np.ndarray) -> np.ndarray:
        """(e,) int64 rows of the items of events, which get one where they have none; -1 where there are too many.

        Args:
            places: (e,) on the shelf, -1 for an item that is not there.
        """
        rows = places.copy()
        for number in np.flatnonzero((places < 0) | (places >= self._n_items)).tolist():
            rows[number] = self._row(item_ids[number], int(places[number]))
        return rows

    def take_shelf(self, places_of: Callable[[Sequence[bytes]], np.ndarray]) -> None:
        """Follow a change of the catalogue: items that were not on the shelf may be there now."""
        waiting = list(self._waiting)
        if waiting:
            for item_id, place in zip(waiting, places_of(waiting).tolist(), strict=True):
                self._pair(item_id, place)

    def rows_of(self, places: np.ndarray) -> np.ndarray:
        """Rows of items on the shelf, -1 for one of which nothing is counted, and in padding."""
        new = places >= self._n_items
        if not new.any():
            return places
        rows, behind = places.copy(), places[new] - self._n_items
        known = behind < len(self._rows)
        rows[new] = np.where(known, self._rows[np.where(known, behind, 0)] if len(self._rows) else -1, -1)
        return rows

    def history_rows(self, joined: bytes, places: np.ndarray) -> np.ndarray:
        """(n,) int64 rows of the items of histories, those that are not on the shelf among them; -1 where nothing is
        counted.

        Args:
            joined: their n ids, joined by newlines.
            places: (n,) on the shelf, -1 for an item that is not there.
        """
        rows = self.rows_of(places)
        if self._waiting and (missing := np.flatnonzero(places < 0)).size:
            rows, item_ids = rows.copy(), joined.split(b"\n")
            rows[missing] = [self._row_of.get(item_ids[place], -1) for place in missing.tolist()]
        return rows

    def nearest(self, latest: np.ndarray, most: int | None = None) -> np.ndarray:
        """(m,) int64 places of the items nearest to these rows, as in `models.relations.near_lists.nearest`."""
        rows = nearest(self.counts, latest, most)
        new = rows >= self._n_items
        if new.any():
            rows[new] = self._places[rows[new] - self._n_items]
            rows = rows[rows >= 0]
        return rows

    def features(self, latest: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(B, k, len(NEAR_FEATURES)) float32 of candidates (B, k), -1 padded, to the rows (B, LATEST)."""
        rows = self.rows_of(places.ravel()).reshape(places.shape)
        return near_features(self.counts, latest, rows)

    def _row(self, item_id: bytes, place: int) -> int:
        row = self._row_of.get(item_id)
        if row is None:
            if len(self._row_of) >= self._most_new:
                self.left_out += 1
                return -1
            row = self._row_of[item_id] = self._n_items + len(self._row_of)
            self._places = _with(self._places, row - self._n_items, -1)
            self._waiting.add(item_id)
        if place >= 0 and item_id in self._waiting:
            self._pair(item_id, place)
        return row

    def _pair(self, item_id: bytes, place: int) -> None:
        if place >= self._n_items:
            row = self._row_of[item_id]
            self._places[row - self._n_items] = place
            self._rows = _with(self._rows, place - self._n_items, row)
            self._waiting.discard(item_id)


def _with(array: np.ndarray, place: int, value: int) -> np.ndarray:
    """The array with a value at a place; longer where it must be, -1 in what is new."""
    if place >= len(array):
        array = np.concatenate([array, np.full(max(place + 1, 2 * len(array)) - len(array), -1, np.int64)])
    array[place] = value
    return array
