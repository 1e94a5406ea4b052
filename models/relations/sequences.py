"""What comes after what, and what is taken up together: counted over the users' events in their order.

Each occurrence of an item looks at the events of the same user around it, up to a reach, so the time taken is linear
in the events. Events of one moment have no order, so each counts as following the other.
"""

from dataclasses import dataclass

import numpy as np
from numba import types

from models.compiled import compiled, reads, writes
from models.relations.top_k import TopK, keep_strongest, top_k_table


@dataclass(frozen=True)
class Steps:
    """What a step from one event to a later one of the same user counts.

    Attributes:
        weights: (reach,) by distance, 1 for the next event first.
        backwards: what the way back counts, as a share.
        longest_ms: two events further apart than this do not count; infinite for no limit.
    """

    weights: tuple[float, ...]
    backwards: float
    longest_ms: float


_PRIOR = 100.0
"""Steps of nothing in particular that each item's own are mixed with, so that a rare item's relations count little."""
_POPULARITY = 0.3
"""By which power of its popularity an item is held back. On MovieLens (P4, the latest ten items alone) .3 gives HR@10
.2064, 0 .2044, .5 .1904, and 1 .08: what is popular does come next."""
FOLLOWING = Steps(tuple(1.0 / step for step in range(1, 6)), 0.0, np.inf)
TOGETHER = Steps(tuple(0.8 ** (step - 1) for step in range(1, 11)), 0.5, 600_000.0)


def fit_sequences(
    user: np.ndarray,
    item: np.ndarray,
    times_ms: np.ndarray,
    n_items: int,
    steps: Steps,
    k: int,
) -> TopK:
    """The `k` items that come most often with each item.

    With c the counted steps from i to j, i's in all and j's share of all steps: c / (all of i + 100) / share ** .3.

    Args:
        user, item: (e,) int, `times_ms` (e,): events with positive weight, in any order.
    """
    order = np.lexsort((item, times_ms, user))
    user, item = user[order].astype(np.int64), item[order].astype(np.int32)
    times_ms = times_ms[order].astype(np.float64)
    by_item = np.argsort(item, kind="stable").astype(np.int64)
    edges = np.searchsorted(item[by_item], np.arange(n_items + 1)).astype(np.int64)
    events = (user, item, times_ms)
    counted = (np.array(steps.weights), steps.backwards, steps.longest_ms)
    columns = np.zeros(n_items)
    _count_columns(*events, *counted, columns)
    total = columns.sum()
    shares = columns / total if total > 0 else columns

    def fill(first: int, items: np.ndarray, strengths: np.ndarray, lengths: np.ndarray) -> None:
        _fill_rows(*events, by_item, edges, *counted, shares, first, items, strengths, lengths)

    return top_k_table(n_items, k, fill)


_EVENTS = (reads("i8"), reads("i4"), reads("f8"))
_BY_ITEM = (reads("i8"), reads("i8"))
_COUNTED = (reads("f8"), types.float64, types.float64)


@compiled(*_EVENTS, *_COUNTED, writes("f8"))
def _count_columns(
    user: np.ndarray,
    item: np.ndarray,
    times_ms: np.ndarray,
    weights: np.ndarray,
    backwards: float,
    longest_ms: float,
    columns: np.ndarray,
) -> None:
    for at in range(len(item)):
        for distance in range(1, len(weights) + 1):
            other = at + distance
            if other >= len(item) or user[other] != user[at] or times_ms[other] - times_ms[at] > longest_ms:
                break
            if item[other] == item[at]:
                continue
            columns[item[other]] += weights[distance - 1]
            tied = times_ms[other] == times_ms[at]
            columns[item[at]] += weights[distance - 1] * (1.0 if tied else backwards)


@compiled(*_EVENTS, *_BY_ITEM, *_COUNTED, reads("f8"), types.int64, writes("i4", 2), writes("f4", 2), writes("i8"))
def _fill_rows(
    user: np.ndarray,
    item: np.ndarray,
    times_ms: np.ndarray,
    by_item: np.ndarray,
    edges: np.ndarray,
    weights: np.ndarray,
    backwards: float,
    longest_ms: float,
    shares: np.ndarray,
    first: int,
    items: np.ndarray,
    strengths: np.ndarray,
    lengths: np.ndarray,
) -> None:
    sums = np.zeros(len(shares))
    touched = np.empty(len(shares), np.int32)
    for row in range(len(items)):
        this, n_touched, total = first + row, 0, 0.0
        for place in range(edges[this], edges[this + 1]):
            at = by_item[place]
            for direction in (1, -1):
                for distance in range(1, len(weights) + 1):
                    other = at + direction * distance
                    if other < 0 or other >= len(item) or user[other] != user[at]:
                        break
                    gap = abs(times_ms[other] - times_ms[at])
                    if gap > longest_ms:
                        break
                    counted = weights[distance - 1]
                    if direction < 0 and gap > 0:
                        counted *= backwards
                    if item[other] == this or counted == 0:
                        continue
                    if sums[item[other]] == 0:
                        touched[n_touched] = item[other]
                        n_touched += 1
                    sums[item[other]] += counted
                    total += counted
        for place in range(n_touched):
            other = touched[place]
            sums[other] = sums[other] / (total + _PRIOR) / shares[other] ** _POPULARITY
        lengths[row] = keep_strongest(sums, touched, n_touched, items[row], strengths[row])
        for place in range(n_touched):
            sums[touched[place]] = 0.0
