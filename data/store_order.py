"""The order in which the online store keeps a user's events; training puts its events into the same one."""

from collections.abc import Sequence

import numpy as np


def store_order(
    times_ms: np.ndarray,
    items: np.ndarray,
    item_ids: Sequence[bytes],
    codes: np.ndarray,
    values: np.ndarray,
    users: np.ndarray | None = None,
) -> np.ndarray:
    """(n,) int64: row numbers by (time, item id, event type code, value), as `record_event.lua` inserts events.

    Args:
        times_ms: (n,) milliseconds since the epoch.
        items: (n,) positions in `item_ids`.
        item_ids: UTF-8 text of every item's id; ids compare byte by byte.
        codes: (n,) event type codes.
        values: (n,) float; NaN, which stands for no value, comes first.
        users: (n,) sorts by user before everything else; None where the rows of all users are one sequence.
    """
    ranks = np.empty(len(item_ids), np.int64)
    ranks[sorted(range(len(item_ids)), key=item_ids.__getitem__)] = np.arange(len(item_ids))
    keys = (np.where(np.isnan(values), -np.inf, values), codes, ranks[items], times_ms)
    return np.lexsort(keys if users is None else (*keys, users))
