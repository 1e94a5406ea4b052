"""The features of what the user had before, compiled: how often, how lately, and in which rhythm.

They come from the history that the store keeps (its latest events, `store.history_limit`), in training as in serving.
"""

from math import inf, nan

import numpy as np

from models.compiled import compiled, reads, writes
from models.relations.top_k import free_slots, slot_of

REPEAT_FEATURES = (
    "repeat_count",
    "repeat_7d",
    "repeat_30d",
    "repeat_90d",
    "repeat_days",
    "repeat_rhythm",
    "repeat_share",
)
_DAY_MS = 86_400_000.0


@compiled(
    writes("f4", 3), reads("i8"), reads("i8", 2), reads("f8"), reads("i8"), reads("i8"), reads("f8"), reads("f8")
)  # fmt: skip
def fill_repeats(
    block: np.ndarray,
    at: np.ndarray,
    candidates: np.ndarray,
    at_ms: np.ndarray,
    edges: np.ndarray,
    items: np.ndarray,
    amounts: np.ndarray,
    times_ms: np.ndarray,
) -> None:
    """Write `REPEAT_FEATURES` of B requests: events of the candidate, the same decayed by half-lives of 7, 30 and 90
    days and weighed by confidence, days since the last, those over the mean days between two, and the share of the
    user's events. What needs an event, or two of different times, is NaN without.

    Args:
        block: (B, k, columns) float32, written to.
        at: (len(REPEAT_FEATURES),) the column of each feature, -1 for one that the block does not hold.
        candidates, at_ms: as in `RequestBatch`.
        edges, items, amounts, times_ms: the past events of the requests one after another
            (`models.relations.past_events`); those of request i are at `edges[i]` to `edges[i + 1]`.
    """
    line = np.empty(7)
    for row in range(len(candidates)):
        out, listed = block[row], candidates[row]
        keys = free_slots(len(listed))
        places = np.zeros(len(keys), np.int64)
        for place in range(len(listed)):
            if listed[place] >= 0:
                slot = slot_of(keys, listed[place])
                keys[slot], places[slot] = listed[place], place
        sums = np.zeros((len(listed), 3))
        counts, moments = np.zeros(len(listed)), np.zeros(len(listed))
        earliest, latest = np.full(len(listed), nan), np.full(len(listed), -inf)
        for event in range(edges[row], edges[row + 1]):
            slot = slot_of(keys, items[event])
            if keys[slot] < 0:
                continue
            place = places[slot]
            age = max(at_ms[row] - times_ms[event], 0.0) / _DAY_MS
            sums[place, 0] += amounts[event] * 2.0 ** (-age / 7.0)
            sums[place, 1] += amounts[event] * 2.0 ** (-age / 30.0)
            sums[place, 2] += amounts[event] * 2.0 ** (-age / 90.0)
            if counts[place] == 0:
                earliest[place] = times_ms[event]
            if times_ms[event] > latest[place]:
                moments[place] += 1
                latest[place] = times_ms[event]
            counts[place] += 1
        number = edges[row + 1] - edges[row]
        for place in range(len(listed)):
            line[0] = counts[place]
            line[1], line[2], line[3] = sums[place, 0], sums[place, 1], sums[place, 2]
            since = max(at_ms[row] - latest[place], 0.0) / _DAY_MS
            line[4] = since if counts[place] > 0 else nan
            gap = (latest[place] - earliest[place]) / _DAY_MS / (moments[place] - 1) if moments[place] > 1 else nan
            line[5] = since / gap
            line[6] = counts[place] / number if number > 0 else 0.0
            for feature in range(len(at)):
                if at[feature] >= 0:
                    out[place, at[feature]] = line[feature]
