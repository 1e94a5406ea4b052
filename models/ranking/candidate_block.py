"""The candidate block's arithmetic, compiled: see `models.ranking.features`, which gives it meaning."""

from math import inf, nan, sqrt

import numpy as np
from numba import types

from models.compiled import compiled, inner, reads, writes
from models.ranking.repeat_block import REPEAT_FEATURES
from models.relations.top_k import free_slots, slot_of

CANDIDATE_FEATURES = (
    "retrieval_score",
    "retrieval_standard",
    "retrieval_rank",
    "cosine_last",
    "cosine_max_5",
    "cosine_mean_5",
    "cosine_max_10",
    "cosine_mean_10",
    "cosine_max_10_standard",
    "ease_standard",
    "ease_recent_standard",
    "follows_standard",
    "follows_last",
    "log_count",
    "count_share",
    "value_mean",
    "year",
    "age_days",
    "popularity_1d",
    "popularity_7d",
    "affinity_mean",
    "affinity_max",
    "together",
    "together_standard",
    "together_last",
    *REPEAT_FEATURES,
)
_SCORE, _STANDARD, _RANK = 0, 1, 2
_COSINES = CANDIDATE_FEATURES.index("cosine_last")
_RELATIONS = CANDIDATE_FEATURES.index("ease_standard")
_STATIC = CANDIDATE_FEATURES.index("log_count")
_AGE = CANDIDATE_FEATURES.index("age_days")
_POPULARITY = CANDIDATE_FEATURES.index("popularity_1d")
_AFFINITY = CANDIDATE_FEATURES.index("affinity_mean")
_TOGETHER = CANDIDATE_FEATURES.index("together")
REPEATS = CANDIDATE_FEATURES.index(REPEAT_FEATURES[0])
_FEW, _MORE = 5, 10  # latest items that the cosines look at, and the follows at the few
_DAY_MS = 86_400_000.0
_TABLE = (reads("i8"), reads("i4"), reads("f4"))
_FADING = 0.8  # of the latest items together with a candidate, each counts so much of the one after it


@compiled(
    writes("f4", 3),
    reads("i8", 2),
    reads("f4", 2),
    reads("i8", 2),
    reads("i8"),
    reads("i8"),
    reads("f8"),
    reads("f4", 2),
    reads("f4", 3),
    reads("f4", 2),
    reads("f4", 2),
    reads("f8"),
    reads("i4", 2),
    reads("f4", 2),
    reads("f4", 2),
    *_TABLE,
    *_TABLE,
    *_TABLE,
)
def fill_block(
    block: np.ndarray,
    candidates: np.ndarray,
    scores: np.ndarray,
    recent: np.ndarray,
    histories: np.ndarray,
    edges: np.ndarray,
    at_ms: np.ndarray,
    affinity: np.ndarray,
    popularity: np.ndarray,
    unit_factors: np.ndarray,
    static: np.ndarray,
    first_ms: np.ndarray,
    categories: np.ndarray,
    ease: np.ndarray,
    follows: np.ndarray,
    together_edges: np.ndarray,
    together_items: np.ndarray,
    together_weights: np.ndarray,
    following_edges: np.ndarray,
    following_items: np.ndarray,
    following_weights: np.ndarray,
    neighbour_edges: np.ndarray,
    neighbour_items: np.ndarray,
    neighbour_weights: np.ndarray,
) -> None:
    """Write the block of B requests, but for the features of repeats.

    Args:
        block: (B, k, len(CANDIDATE_FEATURES)) float32, written to.
        candidates, scores, recent, at_ms, affinity: as in `RequestBatch`.
        histories: the batch's one after another; that of request i is `histories[edges[i]:edges[i + 1]]`.
        popularity: (2, B, k) float32.
        unit_factors, static, first_ms, categories: as in `ItemTable`.
        ease, follows: as in `ItemRelations`; (0, 0) where there are none, and the tables stand in.
        together_edges and the rest: the tables of `ItemRelations`; with edges [0] where there are none.
    """
    together = (together_edges, together_items, together_weights)
    following = (following_edges, following_items, following_weights)
    neighbours = (neighbour_edges, neighbour_items, neighbour_weights)
    for row in range(len(candidates)):
        out, listed = block[row], candidates[row]
        present = listed >= 0
        items = np.maximum(listed, 0)
        scored = present & ~np.isnan(scores[row])
        out[:, _SCORE] = scores[row]
        _standardise(scores[row], scored, out[:, _STANDARD])
        _cosines(unit_factors, items, recent[row], present, out[:, _COSINES:_RELATIONS])
        history = histories[edges[row] : edges[row + 1]]
        slots = _slots(listed)
        _relations(
            ease,
            follows,
            neighbours,
            following,
            items,
            slots,
            history,
            recent[row],
            present,
            out[:, _RELATIONS:_STATIC],
        )
        _together(together, slots, listed, recent[row], out[:, _TOGETHER:REPEATS])
        for place, item in enumerate(items):
            out[place, _RANK] = place
            out[place, _STATIC:_AGE] = static[item]
            age = (at_ms[row] - first_ms[item]) / _DAY_MS
            out[place, _AGE] = 0.0 if age < 0 else age
            out[place, _POPULARITY:_AFFINITY] = popularity[:, row, place]
            out[place, _AFFINITY], out[place, _AFFINITY + 1] = _affinity(affinity[row], categories[item])


@compiled(reads("i8"), reads("i8"), types.boolean, writes("i8"))
def fill_latest(items: np.ndarray, among: np.ndarray, all_count: bool, found: np.ndarray) -> None:
    """See `models.ranking.features.latest_distinct`; `found` is filled from its start."""
    kept = 0
    for back in range(1, len(items) + 1):
        if kept == len(found):
            return
        item = items[-back]
        wanted = item >= 0
        if wanted and not all_count:
            place = np.searchsorted(among, item)
            wanted = place < len(among) and among[place] == item
        for earlier in range(kept):
            wanted = wanted and found[earlier] != item
        if wanted:
            found[kept] = item
            kept += 1


@inner
def _standardise(values: np.ndarray, present: np.ndarray, out: np.ndarray) -> None:
    """Values less their mean, over their standard deviation, both over the `present` ones only. NaN where a value is
    absent; 0 where all are equal."""
    count, total, squares = 0, 0.0, 0.0
    for place in range(len(values)):
        if present[place]:
            count += 1
            total += values[place]
    mean = total / max(count, 1)
    for place in range(len(values)):
        if present[place]:
            squares += (values[place] - mean) ** 2
    deviation = sqrt(squares / max(count, 1))
    flat = deviation <= 1e-6 * abs(mean)  # rounding, not spread
    for place in range(len(values)):
        if not present[place]:
            out[place] = nan
        else:
            out[place] = 0.0 if flat else (values[place] - mean) / deviation


@inner
def _cosines(
    unit_factors: np.ndarray, candidates: np.ndarray, recent: np.ndarray, present: np.ndarray, out: np.ndarray
) -> None:
    """Write six columns: the cosine with the last item, largest and mean with the last 5 and the last 10, and the
    largest of the last 10 standardised."""
    known = 0
    while known < min(_MORE, len(recent)) and recent[known] >= 0:
        known += 1
    if known == 0:
        out[:] = nan
        return
    cosines = np.dot(unit_factors[candidates], unit_factors[recent[:known]].T)
    for place in range(len(candidates)):
        largest, total = -inf, 0.0
        out[place, 0] = cosines[place, 0]
        for step in range(known):
            largest, total = max(largest, cosines[place, step]), total + cosines[place, step]
            if step < _FEW:
                out[place, 1], out[place, 2] = largest, total / (step + 1)
        out[place, 3], out[place, 4] = largest, total / known
    _standardise(out[:, 3], present, out[:, 5])


@inner
def _relations(
    ease: np.ndarray,
    follows: np.ndarray,
    neighbours: tuple[np.ndarray, np.ndarray, np.ndarray],
    following: tuple[np.ndarray, np.ndarray, np.ndarray],
    candidates: np.ndarray,
    slots: tuple[np.ndarray, np.ndarray],
    history: np.ndarray,
    recent: np.ndarray,
    present: np.ndarray,
    out: np.ndarray,
) -> None:
    """EASE over the history and over `recent`, what follows the latest 5, all standardised, and what follows the last.

    Without the matrices the tables of neighbours and of what follows stand in. NaN where there is no history, and for a
    candidate that none of them has.
    """
    dense = len(ease) > 0
    related = present & (candidates < (len(ease) if dense else len(following[0]) - 1))
    nobody = np.zeros(len(candidates), np.bool_)
    late = related if recent[0] >= 0 else nobody
    if dense:
        whole, lately = _sums(ease, history, len(history), candidates), _sums(ease, recent, len(recent), candidates)
        few, last = _sums(follows, recent, _FEW, candidates), _sums(follows, recent, 1, candidates)
    else:
        n = len(candidates)
        whole = _table_sums(neighbours, history, len(history), 1.0, slots, n)
        lately = _table_sums(neighbours, recent, len(recent), 1.0, slots, n)
        few = _table_sums(following, recent, _FEW, 1.0, slots, n)
        last = _table_sums(following, recent, 1, 1.0, slots, n)
    _standardise(whole, related if len(history) else nobody, out[:, 0])
    _standardise(lately, late, out[:, 1])
    _standardise(few, late, out[:, 2])
    for place in range(len(candidates)):
        out[place, 3] = last[place] if late[place] else nan


@inner
def _sums(matrix: np.ndarray, rows: np.ndarray, most: int, columns: np.ndarray) -> np.ndarray:
    """For each column the sum over the first `most` of those rows that the matrix has. Row by row, as it lies there."""
    sums = np.zeros(len(columns), np.float32)
    added = 0
    for row in rows:
        if 0 <= row < len(matrix) and added < most:
            added += 1
            for place in range(len(columns)):
                if columns[place] < len(matrix):
                    sums[place] += matrix[row, columns[place]]
    return sums


@inner
def _slots(candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each candidate stands in the list, as keys and places of `models.relations.top_k.slot_of`."""
    keys = free_slots(len(candidates))
    places = np.zeros(len(keys), np.int64)
    for place in range(len(candidates)):
        if candidates[place] >= 0:
            slot = slot_of(keys, candidates[place])
            keys[slot], places[slot] = candidates[place], place
    return keys, places


@inner
def _table_sums(
    table: tuple[np.ndarray, np.ndarray, np.ndarray],
    rows: np.ndarray,
    most: int,
    fading: float,
    slots: tuple[np.ndarray, np.ndarray],
    n: int,
) -> np.ndarray:
    """For each of n candidates the sum over the first `most` of those rows that the table has, each row counting
    `fading` times what the one before it does."""
    edges, items, weights = table
    keys, places = slots
    sums = np.zeros(n, np.float32)
    added, share = 0, np.float32(1.0)
    for row in rows:
        if 0 <= row < len(edges) - 1 and added < most:
            for at in range(edges[row], edges[row + 1]):
                slot = slot_of(keys, items[at])
                if keys[slot] >= 0:
                    sums[places[slot]] += share * weights[at]
            added += 1
            share *= np.float32(fading)
    return sums


@inner
def _together(
    together: tuple[np.ndarray, np.ndarray, np.ndarray],
    slots: tuple[np.ndarray, np.ndarray],
    candidates: np.ndarray,
    recent: np.ndarray,
    out: np.ndarray,
) -> None:
    """How much the latest 10 items are taken up together with each candidate, the same standardised, and with the last
    alone. NaN where there is no history, and for a candidate that the table does not have."""
    n = len(candidates)
    known = (candidates >= 0) & (candidates < len(together[0]) - 1)
    if recent[0] < 0:
        known[:] = False
    latest = _table_sums(together, recent, _MORE, _FADING, slots, n)
    last = _table_sums(together, recent, 1, 1.0, slots, n)
    _standardise(latest, known, out[:, 1])
    for place in range(n):
        out[place, 0], out[place, 2] = (latest[place], last[place]) if known[place] else (nan, nan)


@inner
def _affinity(affinity: np.ndarray, categories: np.ndarray) -> tuple[float, float]:
    """Mean and largest over an item's categories; NaN where it has none, or the user no affinities."""
    largest, total, count = -inf, 0.0, 0
    for column in categories:
        if column >= 0:
            count += 1
            total += affinity[column]
            largest = max(largest, affinity[column])
    if count == 0 or np.isnan(total):
        return nan, nan
    return total / count, largest
