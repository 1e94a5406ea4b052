"""From events to interest: one weight for each (user, item) pair.

Training aggregates all users at once, serving aggregates the few users of one micro-batch; both call the same
function, so a model is never asked about weights that it was not trained on.
"""

from dataclasses import dataclass

import numpy as np

from configs.event_types import EventTypes, Weighting


@dataclass(frozen=True)
class Interest:
    """One row for each distinct pair, sorted by (user, item).

    Attributes:
        users: (p,) int64.
        items: (p,) int64.
        weights: (p,) float32, >= 0. A pair of weight 0 was seen, but says nothing for the item.
        refused: (p,) bool, the user's latest judgement of the item is a "no".
    """

    users: np.ndarray
    items: np.ndarray
    weights: np.ndarray
    refused: np.ndarray


def aggregate_interest(
    users: np.ndarray,
    items: np.ndarray,
    times_ms: np.ndarray,
    codes: np.ndarray,
    values: np.ndarray,
    types: EventTypes,
    weighting: Weighting,
) -> Interest:
    """Reduce events to one weight for each (user, item): the largest confidence of the pair's events.

    Under "preference", a pair whose latest judgement (by time, then code, then value) is a refusal weighs 0: an
    explicit "no" overrules the clicks before and after it, until the user judges again. Under "consumption" all
    that was consumed counts. The order of the input rows does not matter.

    Args:
        users: (n,) int, >= 0.
        items: (n,) int, >= 0.
        times_ms: (n,) int or float, milliseconds since the epoch.
        codes: (n,) uint8, event type codes.
        values: (n,) float, NaN where an event carries none.
        types: meanings of the codes.
        weighting: "preference" or "consumption".

    Raises:
        ValueError: the arrays differ in length, or an index is negative.
    """
    n = len(users)
    if not len(items) == len(times_ms) == len(codes) == len(values) == n:
        raise ValueError("users, items, times_ms, codes and values must have one length")
    if n == 0:
        empty = np.zeros(0, np.int64)
        return Interest(empty, empty, np.zeros(0, np.float32), np.zeros(0, bool))
    span = int(items.max()) + 1
    if users.min() < 0 or items.min() < 0:
        raise ValueError("users and items must be indices >= 0; drop unknown ones first")
    pairs = users.astype(np.int64) * span + items
    order = np.argsort(pairs)
    pairs = pairs[order]
    first = np.empty(n, bool)
    first[0] = True
    np.not_equal(pairs[1:], pairs[:-1], out=first[1:])
    starts = np.flatnonzero(first)

    weights = np.maximum.reduceat(types.confidence(codes, values, weighting)[order], starts)
    refused = np.zeros(len(starts), bool)
    if weighting == "preference":
        refusals = types.is_refusal(codes, values)
        if refusals.any():
            group = np.cumsum(first) - 1
            refused = _latest_is_refusal(group, order, times_ms, codes, values, refusals, types, len(starts))
            weights[refused] = 0.0
    distinct = pairs[starts]
    return Interest(distinct // span, distinct % span, weights, refused)


def _latest_is_refusal(
    group: np.ndarray,
    order: np.ndarray,
    times_ms: np.ndarray,
    codes: np.ndarray,
    values: np.ndarray,
    refusals: np.ndarray,
    types: EventTypes,
    n_groups: int,
) -> np.ndarray:
    """(n_groups,) bool. `group` (n,) rises along `order`; only groups with a refusal need their events sorted."""
    has_refusal = np.zeros(n_groups, bool)
    has_refusal[group[refusals[order]]] = True
    judged = types.judgement_codes[codes[order]] & has_refusal[group]
    group, rows = group[judged], order[judged]
    by_time = np.lexsort((values[rows], codes[rows], times_ms[rows], group))
    group, rows = group[by_time], rows[by_time]
    last = np.append(group[1:] != group[:-1], True)
    result = np.zeros(n_groups, bool)
    result[group[last]] = refusals[rows[last]]
    return result
