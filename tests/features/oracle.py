"""Features computed anew in plain Python from a set of events: what the script must give."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from configs.decay import ACTIVITY_HALF_LIVES_MS, AFFINITY_HALF_LIFE_MS, REFUSAL_AFFINITY
from configs.event_types import EventTypes
from configs.settings import Store
from features.recording.event import Event

HALF_LIVES = list(ACTIVITY_HALF_LIVES_MS.values())


def distinct(events: Sequence[Event]) -> list[Event]:
    """Each event id once per user, as first sent, in the order of the history."""
    first: dict[tuple[str, str], Event] = {}
    for event in events:
        first.setdefault((event.user_id, event.event_id), event)
    return list(first.values())


def history_key(event: Event, types: EventTypes) -> tuple[float, bytes, int, float]:
    value = -math.inf if event.value is None else float(np.float32(event.value))
    return event.timestamp_ms, event.item_id.encode(), types[event.event_type].code, value


def weights(event: Event, types: EventTypes) -> tuple[float, float]:
    """What an event counts for popularity and for category affinity."""
    code = np.array([types[event.event_type].code], np.uint8)
    value = np.array([math.nan if event.value is None else event.value])
    weight = float(types.confidence(code, value, "preference")[0])
    return weight, REFUSAL_AFFINITY if types.is_refusal(code, value)[0] else weight


def decayed(times_and_amounts: list[tuple[int, float]], half_life: float, at_ms: int) -> float:
    return math.fsum(amount * 2.0 ** ((time_ms - at_ms) / half_life) for time_ms, amount in times_and_amounts)


def user_features(events: Sequence[Event], types: EventTypes, limits: Store) -> dict[str, object]:
    """The features that one user's distinct events give, in whatever order."""
    ordered = sorted(events, key=lambda event: history_key(event, types))
    kept, older = ordered[-limits.history_limit :], ordered[: -limits.history_limit]
    last_ms = max(event.timestamp_ms for event in events)
    affinities: dict[str, list[tuple[int, float]]] = {}
    for event in events:
        affinity = weights(event, types)[1]
        for category in event.categories if affinity else ():
            affinities.setdefault(category, []).append((event.timestamp_ms, affinity))
    return {
        "history": [history_key(event, types) for event in kept],
        "older_seen": {event.item_id for event in older if types[event.event_type].seen},
        "counters": dict(Counter(event.event_type for event in events)),
        "first_ms": min(event.timestamp_ms for event in events),
        "last_ms": last_ms,
        "activity": [decayed([(event.timestamp_ms, 1.0) for event in events], half, last_ms) for half in HALF_LIVES],
        "affinities": {
            category: decayed(amounts, AFFINITY_HALF_LIFE_MS, last_ms) for category, amounts in affinities.items()
        },
    }


def trending(
    events: Sequence[Event], types: EventTypes, window: str, history_limit: int | None = None
) -> dict[str, float]:
    """Item -> weight as at the newest event, for items that have any.

    Args:
        events: in order of arrival.
        history_limit: events after which a user may count for an item again; None for never.
    """
    half_life = ACTIVITY_HALF_LIVES_MS[window]
    at_ms = max(event.timestamp_ms for event in events)
    histories: dict[str, list[Event]] = {}
    found: dict[str, float] = {}
    for event in events:
        before = histories.setdefault(event.user_id, [])
        weigh = [
            (other, decayed([(other.timestamp_ms, weights(other, types)[0])], half_life, at_ms))
            for other in (*before, event)
            if other.item_id == event.item_id
        ]
        kept = sorted([*before, event], key=lambda one: history_key(one, types))[-(history_limit or len(events)) :]
        histories[event.user_id] = kept
        most = max((amount for other, amount in weigh if other is not event), default=0.0)
        if weights(event, types)[0] > 0 and any(one is event for one in kept):
            found[event.item_id] = found.get(event.item_id, 0.0) + max(0.0, weigh[-1][1] - most)
    return found
