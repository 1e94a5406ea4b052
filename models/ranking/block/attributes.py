"""The columns of the candidate block that attributes give, compiled: see `models.ranking.attributes`."""

from math import nan

import numpy as np

from models.compiled import compiled, inner, reads, writes

_DAY_MS = 86_400_000.0


@compiled(
    writes("f4", 3),
    reads("i8"),
    reads("i8", 2),
    reads("f8"),
    reads("i8"),
    reads("i8"),
    reads("f8"),
    reads("f4", 2),
    reads("f8", 2),
    reads("i4", 2),
    reads("i8"),
    reads("i8"),
    reads("f4", 2),
)
def fill_attributes(
    block: np.ndarray,
    at: np.ndarray,
    candidates: np.ndarray,
    at_ms: np.ndarray,
    events: np.ndarray,
    event_edges: np.ndarray,
    amounts: np.ndarray,
    values: np.ndarray,
    times_ms: np.ndarray,
    members: np.ndarray,
    edges: np.ndarray,
    sizes: np.ndarray,
    users: np.ndarray,
) -> None:
    """Write what attributes give of B requests.

    Args:
        block: (B, k, columns) float32, written to.
        at: the column of each of `UsedAttributes.features`, -1 for one that the block does not hold.
        candidates, at_ms: as in `RequestBatch`.
        events, amounts: positions of the items of the histories' events, one history after another, and what each
            event counts at the moment of its request; those of request i are from `event_edges[i]`.
        values, times_ms, members, edges, sizes: as in `AttributeTable`.
        users: (B, u) float32, the attributes of the requests' users.
    """
    sums = np.zeros(max(1, sizes.max() if len(sizes) else 0))
    times = values.shape[1]
    matches = times + times_ms.shape[1]
    behind = matches + len(sizes)
    for row in range(len(candidates)):
        out = block[row]
        items = np.maximum(candidates[row], 0)
        mine = slice(event_edges[row], event_edges[row + 1])
        for feature in range(len(at)):
            if at[feature] < 0:
                continue
            column = out[:, at[feature]]
            if feature < times:
                for place, item in enumerate(items):
                    column[place] = values[item, feature]
            elif feature < matches:
                for place, item in enumerate(items):
                    column[place] = (at_ms[row] - times_ms[item, feature - times]) / _DAY_MS
            elif feature < behind:
                number = feature - matches
                part = members[:, edges[number] : edges[number + 1]]
                _match(part, events[mine], amounts[mine], items, sums, column)
            else:
                column[:] = users[row, feature - behind]


@inner
def _match(
    members: np.ndarray, events: np.ndarray, amounts: np.ndarray, items: np.ndarray, sums: np.ndarray, out: np.ndarray
) -> None:
    """The share of a history that has a value of each item, the largest where it has several: the sum over the events
    with that value, over the sum of all |amounts| of events with any. NaN where either has none."""
    total = 0.0
    for place, event in enumerate(events):
        if members[event, 0] >= 0:
            total += abs(amounts[place])
        for value in members[event]:
            if value >= 0:
                sums[value] += amounts[place]
    for place, item in enumerate(items):
        largest = nan
        for value in members[item]:
            if value >= 0 and total > 0:
                share = sums[value] / total
                largest = share if np.isnan(largest) else max(largest, share)
        out[place] = largest
    for event in events:
        for value in members[event]:
            if value >= 0:
                sums[value] = 0.0
