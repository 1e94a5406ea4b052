"""The columns of the candidate block that need an item, its score, the latest items or the user's categories, compiled.

Each function writes the columns `at` of B requests: at[i] is where the i-th feature of its group stands, -1 for one
that the block does not hold. `block` is (B, k, columns) float32; the other arguments are as in `RequestBatch` and
`ItemTable`.
"""

from math import inf, nan

import numpy as np

from models.compiled import compiled, reads, writes
from models.ranking.block.standard import standardise

_FEW, _MORE = 5, 10  # latest items that the cosines look at
_DAY_MS = 86_400_000.0


@compiled(writes("f4", 3), reads("i8"), reads("i8", 2), reads("f4", 2))
def fill_scores(block: np.ndarray, at: np.ndarray, candidates: np.ndarray, scores: np.ndarray) -> None:
    """Write `SCORES`."""
    for row in range(len(candidates)):
        out, mine = block[row], scores[row].copy()
        if at[1] >= 0:
            standardise(mine, (candidates[row] >= 0) & ~np.isnan(mine), out[:, at[1]])
        for place in range(len(mine)):
            if at[0] >= 0:
                out[place, at[0]] = mine[place]
            if at[2] >= 0:
                out[place, at[2]] = place


@compiled(writes("f4", 3), reads("i8"), reads("i8", 2), reads("i8", 2), reads("f4", 2))
def fill_cosines(
    block: np.ndarray, at: np.ndarray, candidates: np.ndarray, recent: np.ndarray, unit_factors: np.ndarray
) -> None:
    """Write `COSINES`: the cosine with the last item, largest and mean with the last 5 and the last 10, and the largest
    of the last 10 standardised. NaN where there is no last item."""
    most = min(_MORE, recent.shape[1])
    largest_of_more = np.empty(candidates.shape[1], np.float32)
    for row in range(len(candidates)):
        out = block[row]
        known = 0
        while known < most and recent[row, known] >= 0:
            known += 1
        if known == 0:
            for column in at:
                if column >= 0:
                    out[:, column] = nan
            continue
        items = np.maximum(candidates[row], 0)
        cosines = np.dot(unit_factors[items], unit_factors[recent[row, :known]].T)
        for place in range(len(items)):
            largest, total = np.float32(-inf), 0.0
            largest_of_few, mean_of_few = largest, total
            for step in range(known):
                largest, total = max(largest, cosines[place, step]), total + cosines[place, step]
                if step < _FEW:
                    largest_of_few, mean_of_few = largest, total / (step + 1)
            largest_of_more[place] = largest
            if at[0] >= 0:
                out[place, at[0]] = cosines[place, 0]
            if at[1] >= 0:
                out[place, at[1]] = largest_of_few
            if at[2] >= 0:
                out[place, at[2]] = mean_of_few
            if at[3] >= 0:
                out[place, at[3]] = largest
            if at[4] >= 0:
                out[place, at[4]] = total / known
        if at[5] >= 0:
            standardise(largest_of_more, candidates[row] >= 0, out[:, at[5]])


@compiled(writes("f4", 3), reads("i8"), reads("i8", 2), reads("f8"), reads("f4", 2), reads("f8"))
def fill_facts(
    block: np.ndarray,
    at: np.ndarray,
    candidates: np.ndarray,
    at_ms: np.ndarray,
    static: np.ndarray,
    first_ms: np.ndarray,
) -> None:
    """Write `FACTS`."""
    known = static.shape[1]
    for row in range(len(candidates)):
        for place, candidate in enumerate(candidates[row]):
            out, item = block[row, place], max(candidate, 0)
            for column in range(known):
                if at[column] >= 0:
                    out[at[column]] = static[item, column]
            if at[known] >= 0:
                age = (at_ms[row] - first_ms[item]) / _DAY_MS
                out[at[known]] = 0.0 if age < 0 else age


@compiled(writes("f4", 3), reads("i8"), reads("i8", 2), reads("f4", 2), reads("i4", 2))
def fill_affinity(
    block: np.ndarray, at: np.ndarray, candidates: np.ndarray, affinity: np.ndarray, categories: np.ndarray
) -> None:
    """Write `AFFINITY`: mean and largest over an item's categories; NaN without any, or where the user has none."""
    for row in range(len(candidates)):
        for place, candidate in enumerate(candidates[row]):
            largest, total, count = -inf, 0.0, 0
            for column in categories[max(candidate, 0)]:
                if column >= 0:
                    count += 1
                    total += affinity[row, column]
                    largest = max(largest, affinity[row, column])
            unknown = count == 0 or np.isnan(total)
            if at[0] >= 0:
                block[row, place, at[0]] = nan if unknown else total / count
            if at[1] >= 0:
                block[row, place, at[1]] = nan if unknown else largest


@compiled(writes("f4", 3), reads("i8"), reads("f4", 3))
def fill_given(block: np.ndarray, at: np.ndarray, values: np.ndarray) -> None:
    """Write what is known already: values (B, k, len(at)) float32."""
    for row in range(len(values)):
        for place in range(values.shape[1]):
            for feature in range(len(at)):
                if at[feature] >= 0:
                    block[row, place, at[feature]] = values[row, place, feature]
