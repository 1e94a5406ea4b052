"""The strongest relations of each item, in compressed rows, and how rows of many items become such a table."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.best_k import best_first, offer
from models.compiled import compiled, inner, reads, writes

_BLOCK_CELLS = 4_000_000  # relations held at once while a table is made: 32 MB


@dataclass(frozen=True)
class TopK:
    """Of each of n items those that are related most strongly.

    Attributes:
        edges: (n + 1,) int64; the relations of item i are `items[edges[i]:edges[i + 1]]`.
        items: (m,) int32, the strongest of each item first; ties: lower position first.
        weights: (m,) float32 > 0.
    """

    edges: np.ndarray
    items: np.ndarray
    weights: np.ndarray

    @property
    def n_items(self) -> int:
        return len(self.edges) - 1

    def check(self, name: str, n_items: int) -> None:
        """Raises ValueError, beginning with `name`, where the arrays are no table of n_items items."""
        kinds = {"edges": np.int64, "items": np.int32, "weights": np.float32}
        for part, kind in kinds.items():
            array = getattr(self, part)
            if array.ndim != 1 or array.dtype != kind:
                raise ValueError(f"{name}_{part} is {array.dtype} {array.shape}, expected {np.dtype(kind).name}, flat")
        fits = len(self.edges) == n_items + 1 and self.edges[0] == 0 and self.edges[-1] == len(self.items)
        if not fits or len(self.items) != len(self.weights) or (np.diff(self.edges) < 0).any():
            raise ValueError(f"{name}_edges must rise from 0 to the {len(self.items)} relations of {n_items} items")
        if len(self.items) and not (self.items.min() >= 0 and self.items.max() < n_items):
            raise ValueError(f"{name}_items must be positions of {n_items} items")
        if not (np.isfinite(self.weights) & (self.weights > 0)).all():
            raise ValueError(f"{name}_weights must be finite and above 0")

    def moved(self, source: np.ndarray, place: np.ndarray) -> "TopK":
        """The table in other positions; relations from or to items that have none there are left away.

        Args:
            source: (n_new,) the old position of each new one, -1 for none.
            place: (n,) the new position of each old one, -1 for none.
        """
        lengths = np.where(source >= 0, np.diff(self.edges)[source], 0)
        flat = np.repeat(self.edges[source] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        items = place[self.items[flat]]
        kept = items >= 0
        rows = np.repeat(np.arange(len(source)), lengths)[kept]
        edges = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(source)))])
        return TopK(edges.astype(np.int64), items[kept].astype(np.int32), self.weights[flat][kept])


def top_k_table(n_items: int, k: int, fill: Callable[[int, np.ndarray, np.ndarray, np.ndarray], None]) -> TopK:
    """A table of n_items rows, made block by block.

    Args:
        fill: called with the first row of a block, and with items (rows, k) int32, weights (rows, k) float32 and
            lengths (rows,) int64, which it fills.
    """
    step = max(1, min(n_items, _BLOCK_CELLS // k))
    items, weights, lengths = np.empty((step, k), np.int32), np.empty((step, k), np.float32), np.empty(step, np.int64)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for start in range(0, n_items, step):
        rows = min(step, n_items - start)
        fill(start, items[:rows], weights[:rows], lengths[:rows])
        kept = np.arange(k) < lengths[:rows, None]
        found.append((lengths[:rows].copy(), items[:rows][kept], weights[:rows][kept]))
    parts = [np.concatenate(part) for part in zip(*found, strict=True)]
    return TopK(np.concatenate([[0], np.cumsum(parts[0])]).astype(np.int64), parts[1], parts[2])


@inner
def keep_strongest(
    sums: np.ndarray, touched: np.ndarray, n_touched: int, items: np.ndarray, weights: np.ndarray
) -> int:
    """Write the strongest of the `touched` items, those with a positive sum, the strongest first, and how many.

    Args:
        sums: (n,) float64.
        touched: (n,) int32, of which the first `n_touched` count.
        items, weights: (k,), written to.
    """
    kept = 0
    for place in range(n_touched):
        value = np.float32(sums[touched[place]])
        if value > 0:
            kept = offer(weights, items, kept, value, touched[place])
    best_first(weights, items, kept)
    return kept


@inner
def slot_of(keys: np.ndarray, item: int) -> int:
    """Where `item` is, or may be put, in a table of keys: its length is a power of two, -1 is a free place."""
    mask = len(keys) - 1
    slot = (item * 40503) & mask
    while keys[slot] >= 0 and keys[slot] != item:
        slot = (slot + 1) & mask
    return slot


@inner
def free_slots(n: int) -> np.ndarray:
    """A table of keys with room for n of them."""
    size = 16
    while size < 2 * n:
        size *= 2
    return np.full(size, -1, np.int64)


@inner
def by_value(keys: np.ndarray, values: np.ndarray, found: np.ndarray) -> int:
    """Write the keys of a table by their values, the largest first, equal ones lower key first, and how many."""
    ordered, n = np.empty(len(found), values.dtype), 0
    for slot in range(len(keys)):
        if keys[slot] >= 0:
            n = offer(ordered, found, n, values[slot], keys[slot])
    best_first(ordered, found, n)
    return n


@compiled(
    reads("i8"), reads("i4"), reads("f4"), reads("i8"), reads("f4"), writes("i8"), writes("i8")
)  # fmt: skip
def _strongest_of(
    edges: np.ndarray,
    items: np.ndarray,
    weights: np.ndarray,
    rows: np.ndarray,
    shares: np.ndarray,
    found: np.ndarray,
    number: np.ndarray,
) -> None:
    keys = free_slots(len(found))
    added = np.zeros(len(keys), np.float32)
    for step in range(len(rows)):
        row = rows[step]
        if 0 <= row < len(edges) - 1:
            for at in range(edges[row], edges[row + 1]):
                slot = slot_of(keys, items[at])
                keys[slot] = items[at]
                added[slot] += shares[step] * weights[at]
    number[0] = by_value(keys, added, found)


def strongest_of(table: TopK, rows: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(m,) int64: all items that are related to any of these, by the sum of their weights, the largest first.

    Args:
        rows: (r,) int64; one without a row in the table has no relations.
        shares: (r,) float32, how much each row counts.
    """
    inside = rows[(rows >= 0) & (rows < table.n_items)]
    most = int((table.edges[inside + 1] - table.edges[inside]).sum())
    found, number = np.empty(most, np.int64), np.empty(1, np.int64)
    _strongest_of(table.edges, table.items, table.weights, rows, shares, found, number)
    return found[: number[0]]
