"""What near counts say of candidates: which come next to the latest items, and five features of each, compiled."""

from math import log1p, nan, sqrt

import numpy as np
from numba import types

from models.compiled import compiled, inner, reads, writes
from models.relations.near_counts import UNIT, NearCounts
from models.relations.top_k import by_value, free_slots, slot_of

NEAR_FEATURES = ("live_log_count", "live_cosine", "live_cosine_max", "live_share", "live_share_last")
LATEST = 10
"""Latest distinct items of a history that are looked at; each counts .8 of the one after it."""
_FADING = 0.8
_PRIOR = 5.0 * UNIT  # pairs of nothing in particular that each item's own are mixed with


def nearest(counts: NearCounts, recent: np.ndarray, most: int | None = None) -> np.ndarray:
    """(m,) int64: the items that are counted with these, `most` at most, the nearest first; ties: lower position first.

    Of a pair counts count / sqrt((all of one + 5) * (all of the other + 5)).

    Args:
        recent: (r,) int64 positions, the latest first.
    """
    rows = recent[(recent >= 0) & (recent < counts.n_items)][:LATEST]
    pairs = int(counts.sizes[rows].sum())
    found, number = np.empty(pairs if most is None else min(most, pairs), np.int64), np.empty(1, np.int64)
    _nearest(
        counts.offsets, counts.sizes, counts.degrees, counts.cell_items, counts.cell_counts,
        np.ascontiguousarray(rows, np.int64), pairs, found, number,
    )  # fmt: skip
    return found[: number[0]]


def near_features(counts: NearCounts, recent: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """(B, k, len(NEAR_FEATURES)) float32: of the counts between the latest items and a candidate the logarithm, the sum
    and the largest of the cosines as in `nearest`, the share of all that those items count, and that of the last alone.
    NaN where there is no history.

    Args:
        recent: (B, r) int64 positions, the latest first, -1 padded.
        candidates: (B, k) int64 positions, below 0 for an item of which nothing is counted.
    """
    block = np.empty((*candidates.shape, len(NEAR_FEATURES)), np.float32)
    _features(
        counts.offsets, counts.sizes, counts.degrees, counts.cell_items, counts.cell_counts,
        np.ascontiguousarray(recent[:, :LATEST], np.int64), np.ascontiguousarray(candidates, np.int64), block,
    )  # fmt: skip
    return block


_COUNTS = (reads("i8"), reads("i4"), reads("i8"), reads("i4"), reads("i4"))


@inner
def _scale(degree: int) -> float:
    return 1.0 / sqrt(degree + _PRIOR)


@compiled(*_COUNTS, reads("i8"), types.int64, writes("i8"), writes("i8"))
def _nearest(
    offsets: np.ndarray,
    sizes: np.ndarray,
    degrees: np.ndarray,
    items: np.ndarray,
    counts: np.ndarray,
    recent: np.ndarray,
    pairs: int,
    found: np.ndarray,
    number: np.ndarray,
) -> None:
    keys = free_slots(pairs)
    sums = np.zeros(len(keys))
    share = 1.0
    for row in recent:
        scale = share * _scale(degrees[row])
        for at in range(offsets[row], offsets[row] + sizes[row]):
            slot = slot_of(keys, items[at])
            keys[slot] = items[at]
            sums[slot] += scale * counts[at]
        share *= _FADING
    for slot in range(len(keys)):
        if keys[slot] >= 0:
            sums[slot] *= _scale(degrees[keys[slot]])
    number[0] = by_value(keys, sums, found)


@compiled(*_COUNTS, reads("i8", 2), reads("i8", 2), writes("f4", 3))
def _features(
    offsets: np.ndarray,
    sizes: np.ndarray,
    degrees: np.ndarray,
    items: np.ndarray,
    counts: np.ndarray,
    recent: np.ndarray,
    candidates: np.ndarray,
    block: np.ndarray,
) -> None:
    for request in range(len(candidates)):
        out, listed = block[request], candidates[request]
        if recent.shape[1] == 0 or recent[request, 0] < 0:
            out[:] = nan
            continue
        out[:] = 0.0
        keys = free_slots(len(listed))
        places = np.zeros(len(keys), np.int64)
        scales = np.zeros(len(listed))
        for place in range(len(listed)):
            if 0 <= listed[place] < len(sizes):
                slot = slot_of(keys, listed[place])
                keys[slot], places[slot] = listed[place], place
                scales[place] = _scale(degrees[listed[place]])
        share = 1.0
        for back in range(recent.shape[1]):
            row = recent[request, back]
            if row < 0:
                break
            if row < len(sizes):
                scale, whole = _scale(degrees[row]), degrees[row] + _PRIOR
                for at in range(offsets[row], offsets[row] + sizes[row]):
                    slot = slot_of(keys, items[at])
                    if keys[slot] < 0:
                        continue
                    place, count = places[slot], counts[at]
                    cosine = count * scale * scales[place]
                    out[place, 0] += share * count
                    out[place, 1] += share * cosine
                    out[place, 2] = max(out[place, 2], cosine)
                    out[place, 3] += share * count / whole
                    if back == 0:
                        out[place, 4] = count / whole
            share *= _FADING
        for place in range(len(listed)):
            out[place, 0] = log1p(out[place, 0] / UNIT)
