"""The features of a user's habits, compiled: what place an item has among all that the user had before, and in how many
visits it was taken up.

How often a thing was had (`models.ranking.block.repeats`) says little without what else the user takes up, and how
often the user comes at all. They come from the same history, in training as in serving.
"""

from math import nan

import numpy as np

from models.compiled import compiled, reads, writes
from models.relations.past_events import HALF_LIFE_MS
from models.relations.top_k import free_slots, slot_of

HABIT_FEATURES = (
    "habit_rank",
    "habit_share",
    "habit_180d",
    "habit_visits",
    "habit_visit_rate",
    "habit_visits_since",
    "habit_visit_share",
)
VISIT_GAP_MS = 1_800_000.0
"""Events of a user that are no further apart belong to one visit."""


@compiled(
    writes("f4", 3), reads("i8"), reads("i8", 2), reads("f8"), reads("i8"), reads("i8"), reads("f8"), reads("f8")
)  # fmt: skip
def fill_habits(
    block: np.ndarray,
    at: np.ndarray,
    candidates: np.ndarray,
    at_ms: np.ndarray,
    edges: np.ndarray,
    items: np.ndarray,
    amounts: np.ndarray,
    times_ms: np.ndarray,
) -> None:
    """Write `HABIT_FEATURES` of B requests: the place of the candidate among all that its user had before, by the sum
    of events decayed by 60 days and weighed by confidence; its share of the sum of all; its own sum by 180 days; visits
    that had it, those over all visits since the first that had it, visits since the last that had it, and its share of
    the visits decayed by 60 days. What the user never had has no place, no rate and no visits since (NaN).

    Args:
        block, at, candidates, at_ms, edges, items, amounts, times_ms: as in `fill_repeats`.
    """
    line = np.empty(7)
    for row in range(len(candidates)):
        out, listed = block[row], candidates[row]
        begin, end = edges[row], edges[row + 1]
        keys = free_slots(end - begin)
        sums, slow, recent = np.zeros(len(keys)), np.zeros(len(keys)), np.zeros(len(keys))
        visits, first, latest = np.zeros(len(keys)), np.zeros(len(keys)), np.full(len(keys), -1.0)
        total, all_visits, visit, counts = 0.0, 0.0, -1.0, 0.0
        for event in range(begin, end):
            if event == begin or times_ms[event] - times_ms[event - 1] > VISIT_GAP_MS:
                visit += 1
                counts = 2.0 ** (-max(at_ms[row] - times_ms[event], 0.0) / HALF_LIFE_MS)
                all_visits += counts
            slot = slot_of(keys, items[event])
            if keys[slot] < 0:
                keys[slot], first[slot] = items[event], visit
            age = max(at_ms[row] - times_ms[event], 0.0) / HALF_LIFE_MS
            sums[slot] += amounts[event] * 2.0**-age
            slow[slot] += amounts[event] * 2.0 ** (-age / 3)
            total += amounts[event] * 2.0**-age
            if latest[slot] != visit:
                visits[slot] += 1
                recent[slot] += counts
                latest[slot] = visit
        ordered = np.sort(sums[keys >= 0])
        for place in range(len(listed)):
            slot = slot_of(keys, max(listed[place], 0))
            had = listed[place] >= 0 and keys[slot] >= 0
            line[0] = len(ordered) - np.searchsorted(ordered, sums[slot], side="right") if had else nan
            line[1] = sums[slot] / total if had else 0.0
            line[2] = slow[slot] if had else 0.0
            line[3] = visits[slot] if had else 0.0
            line[4] = visits[slot] / (visit - first[slot] + 1) if had else nan
            line[5] = visit - latest[slot] if had else nan
            line[6] = recent[slot] / all_visits if had else 0.0
            for feature in range(len(at)):
                if at[feature] >= 0:
                    out[place, at[feature]] = line[feature]
