"""An `ItemTable` that follows the catalogue item by item: a change costs no pass over all items."""

from collections.abc import Sequence

import numpy as np

from models.growing_array import GrowingArray
from models.ranking.attributes import AttributeTable
from models.ranking.item_table import MOST_CATEGORIES, NO_CATEGORY, ItemStatistics, ItemTable, item_table

_UNKNOWN = (0.0, 0.0, np.nan, np.nan)
"""`ItemTable.static` of an item that training has not seen."""


class LiveItems:
    """The table of the model's items, and behind them of those that only the catalogue has.

    Args:
        item_factors: (n_items, f) float32.
        statistics: what training saw of the model's items.
    """

    def __init__(self, item_factors: np.ndarray, statistics: ItemStatistics) -> None:
        table = item_table(item_factors, statistics, {})
        self._n_items = len(item_factors)
        self._unit = GrowingArray(table.unit_factors)
        self._static = GrowingArray(table.static)
        self._first_ms = GrowingArray(table.first_ms, fill=np.nan)
        members = np.full((self._n_items, MOST_CATEGORIES), NO_CATEGORY, np.int32)
        self._categories = GrowingArray(members, fill=NO_CATEGORY)
        self._columns: dict[str, int] = {}
        self._estimated = np.empty(0, np.int64)  # unknown items whose factors are not zeros

    def update(
        self, places: Sequence[int], categories: Sequence[tuple[str, ...]], added_ms: Sequence[int], n: int
    ) -> None:
        """Take over what the catalogue says of some items now.

        Args:
            places: their positions, below `n`.
            categories: of each of them.
            added_ms: when each of them was added; that counts for those that the model does not know.
            n: how many items there are now.
        """
        self._grow(n)
        columns = self._columns
        rows = np.full((len(places), MOST_CATEGORIES), NO_CATEGORY, np.int32)
        for row, names in zip(rows, categories, strict=True):
            for place, name in enumerate(sorted(set(names))[:MOST_CATEGORIES]):
                row[place] = columns.setdefault(name, len(columns))
        at = np.array(places, np.int64)
        self._categories.values[at] = rows
        extra = at >= self._n_items
        self._first_ms.values[at[extra]] = np.array(added_ms, np.float64)[extra]

    def take_factors(self, places: np.ndarray, factors: np.ndarray, gone: np.ndarray) -> None:
        """Take over the estimated factors of items that the model does not know.

        Args:
            places: (m,) positions, and `factors` (m, f) float32.
            gone: (d,) positions of those that have none any more.
        """
        self._unit.values[gone] = 0
        norms = np.linalg.norm(factors, axis=1, keepdims=True)
        self._unit.values[places] = np.divide(factors, norms, out=np.zeros_like(factors), where=norms > 0)
        self._estimated = np.union1d(np.setdiff1d(self._estimated, gone), places)

    @property
    def columns(self) -> dict[str, int]:
        """Category -> its column; it keeps it when it loses its last item."""
        return self._columns

    def table(self, attributes: AttributeTable | None = None) -> ItemTable:
        """The table as it is now; the next change changes it."""
        return ItemTable(
            self._unit.values,
            self._static.values,
            self._first_ms.values,
            self._categories.values,
            self._columns,
            attributes,
        )

    def _grow(self, n: int) -> None:
        before = len(self._static.values)
        if n <= before:
            return
        self._unit.grow(n, written=np.concatenate([np.arange(self._n_items), self._estimated]))
        for array in (self._static, self._first_ms, self._categories):
            array.grow(n)
        self._static.values[before:] = _UNKNOWN
