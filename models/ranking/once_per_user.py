"""What an event adds to its item's popularity, where no user counts more than once for an item.

Of all that a user did with an item, only the event counts that weighs most by now. Weights decay by a half-life, so
which one that is never changes, and the sum over users can be kept up event by event: an event adds what it weighs
beyond the weightiest of the user's events on the item before it, as at its own time. The order in which the events
arrive changes nothing.

What a user did before is known from the history, which holds the latest events up to a limit, so an event on an item
counts anew once all others on the item have fallen out of it. One that is too old for a full history counts nothing.
"""

import numpy as np
from numba import types

from models.compiled import compiled, reads, writes


def added_popularity(
    user: np.ndarray,
    item: np.ndarray,
    times_ms: np.ndarray,
    weights: np.ndarray,
    half_lives_ms: np.ndarray,
    history_limit: int,
) -> np.ndarray:
    """(h, n) float64, what each event adds to its item's popularity by each of h half-lives, as at its own time.

    The same rule as in `features/redis/lua/recording/record_event.lua`.

    Args:
        user: (n,) int, `item` (n,) int, `times_ms` (n,), `weights` (n,) >= 0: the events in order of arrival, those
            of weight 0 too.
        half_lives_ms: (h,).
        history_limit: how many events of a user the history holds, at least 1.
    """
    added = np.zeros((len(half_lives_ms), len(user)))
    if not len(user):
        return added
    order = np.argsort(user, kind="stable")
    edges = np.concatenate(([0], np.flatnonzero(np.diff(user[order])) + 1, [len(order)]))
    _walk(
        np.ascontiguousarray(order, np.int64),
        edges.astype(np.int64),
        np.ascontiguousarray(item, np.int64),
        np.ascontiguousarray(times_ms, np.float64),
        np.ascontiguousarray(weights, np.float64),
        np.ascontiguousarray(half_lives_ms, np.float64),
        history_limit,
        added,
    )
    return added


@compiled(
    reads("i8"), reads("i8"), reads("i8"), reads("f8"), reads("f8"), reads("f8"), types.int64, writes("f8", 2)
)  # fmt: skip
def _walk(
    order: np.ndarray,
    edges: np.ndarray,
    item: np.ndarray,
    times_ms: np.ndarray,
    weights: np.ndarray,
    half_lives_ms: np.ndarray,
    history_limit: int,
    added: np.ndarray,
) -> None:
    history = np.empty(history_limit, np.int64)  # rows, the oldest first
    for user in range(len(edges) - 1):
        held = 0
        for place in range(edges[user], edges[user + 1]):
            row = order[place]
            before = held
            while before > 0 and times_ms[history[before - 1]] > times_ms[row]:
                before -= 1
            full = held == history_limit
            if full and before == 0:
                continue
            if weights[row] > 0:
                for half_life in range(len(half_lives_ms)):
                    best = 0.0
                    for other in history[:held]:
                        if item[other] == item[row] and weights[other] > 0:
                            gap = (times_ms[other] - times_ms[row]) / half_lives_ms[half_life]
                            best = max(best, weights[other] * 2.0**gap)
                    added[half_life, row] = max(0.0, weights[row] - best)
            if full:
                before -= 1
                history[:before] = history[1 : before + 1]
            else:
                for moved in range(held, before, -1):
                    history[moved] = history[moved - 1]
                held += 1
            history[before] = row
