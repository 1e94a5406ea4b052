"""From events to interest: one weight for each (user, item) pair.

Training aggregates all users at once, serving aggregates the few users of one micro-batch; both call the same
function, so a model is never asked about weights that it was not trained on.
"""

from dataclasses import dataclass

import numpy as np

from configs.event_types import EventTypes, Weighting
from models.compiled import compiled, inner, reads

_BLOCK = 2_000_000  # events that are reduced at once: it bounds the memory, some 60 bytes an event


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
    if users.min() < 0 or items.min() < 0:
        raise ValueError("users and items must be indices >= 0; drop unknown ones first")
    if n > _BLOCK:
        return _in_blocks(users, items, times_ms, codes, values, types, weighting)
    return _reduced(users, items, times_ms, codes, values, types, weighting)


def _reduced(
    users: np.ndarray,
    items: np.ndarray,
    times_ms: np.ndarray,
    codes: np.ndarray,
    values: np.ndarray,
    types: EventTypes,
    weighting: Weighting,
) -> Interest:
    span = int(items.max()) + 1
    pairs = users.astype(np.int64) * span + items
    order = np.argsort(pairs)
    refusals = types.is_refusal(codes, values) & (weighting == "preference")
    starts, weights, refused = _reduce(
        pairs,
        order,
        types.confidence(codes, values, weighting),
        refusals,
        types.judgement_codes[codes],
        np.ascontiguousarray(times_ms, np.float64),
        np.ascontiguousarray(codes, np.uint8),
        np.ascontiguousarray(values, np.float64),
    )
    distinct = pairs[starts]
    return Interest(distinct // span, distinct % span, weights, refused)


def _in_blocks(
    users: np.ndarray,
    items: np.ndarray,
    times_ms: np.ndarray,
    codes: np.ndarray,
    values: np.ndarray,
    types: EventTypes,
    weighting: Weighting,
) -> Interest:
    """The same, of whole users block by block; a user with more events than a block makes one alone."""
    order = np.argsort(users, kind="stable")
    ordered = users[order]
    parts: list[Interest] = []
    start = 0
    while start < len(order):
        end = len(order)
        if end - start > _BLOCK:
            end = int(np.searchsorted(ordered, ordered[start + _BLOCK]))  # where the user begins whom the block cuts
            if end == start:
                end = int(np.searchsorted(ordered, ordered[start], side="right"))
        rows = order[start:end]
        parts.append(_reduced(users[rows], items[rows], times_ms[rows], codes[rows], values[rows], types, weighting))
        start = end
    del order, ordered
    return Interest(*(np.concatenate([getattr(part, name) for part in parts]) for name in Interest.__annotations__))


@compiled(reads("i8"), reads("i8"), reads("f4"), reads("?"), reads("?"), reads("f8"), reads("u1"), reads("f8"))
def _reduce(
    pairs: np.ndarray,
    order: np.ndarray,
    confidence: np.ndarray,
    refusals: np.ndarray,
    judgements: np.ndarray,
    times_ms: np.ndarray,
    codes: np.ndarray,
    values: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One event, weight and refusal for each pair; `order` brings the events of a pair together."""
    found = np.empty(len(order), np.int64)
    weights = np.zeros(len(order), np.float32)
    refused = np.zeros(len(order), np.bool_)
    n, latest = 0, -1
    for place, event in enumerate(order):
        if place == 0 or pairs[event] != pairs[found[n - 1]]:
            found[n] = event
            n, latest = n + 1, -1
        weights[n - 1] = max(weights[n - 1], confidence[event])
        if judgements[event] and (latest < 0 or _later(event, latest, times_ms, codes, values)):
            latest, refused[n - 1] = event, refusals[event]
    for pair in range(n):
        if refused[pair]:
            weights[pair] = 0
    return found[:n], weights[:n], refused[:n]


@inner
def _later(event: int, other: int, times_ms: np.ndarray, codes: np.ndarray, values: np.ndarray) -> bool:
    """Whether an event is later than another: by time, then code, then value; one without a value is the latest."""
    if times_ms[event] != times_ms[other]:
        return bool(times_ms[event] > times_ms[other])
    if codes[event] != codes[other]:
        return bool(codes[event] > codes[other])
    return bool(np.isnan(values[event]) or values[event] > values[other])
