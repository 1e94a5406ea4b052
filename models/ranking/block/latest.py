"""The latest distinct items of a history, compiled: see `models.ranking.features.latest_distinct`."""

import numpy as np
from numba import types

from models.compiled import compiled, reads, writes


@compiled(reads("i8"), reads("i8"), types.boolean, writes("i8"))
def fill_latest(items: np.ndarray, among: np.ndarray, all_count: bool, found: np.ndarray) -> None:
    """Fill `found` from its start."""
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
