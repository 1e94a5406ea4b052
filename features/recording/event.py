"""An event and what recording it did."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

ACTIONS = (
    "logged",
    "history_updated",
    "profile_updated",
    "item_updated",
    "trending_updated",
    "marked_seen",
    "deferred",
)
"""What `record_event.lua` may do; bit i of its answer's mask stands for the i-th."""

_ACTIONS_OF_MASK = [
    tuple(name for bit, name in enumerate(ACTIONS) if mask >> bit & 1) for mask in range(1 << len(ACTIONS))
]


@dataclass(frozen=True, slots=True)
class Event:
    """One interaction of a user with an item. Ids are text; times are ms since the epoch."""

    event_id: str
    """Unique per user. A repeated id within the window is the same event."""
    user_id: str
    item_id: str
    event_type: str
    timestamp_ms: int
    """When it happened; may be late by any amount."""
    value: float | None = None
    received_ms: int = 0
    recommendation_id: str | None = None
    context: dict[str, Any] | None = None
    categories: tuple[str, ...] = ()
    """The item's categories as the catalogue lists them now; they feed the user's category affinity."""


@dataclass(frozen=True, slots=True)
class EventResult:
    """The store's answer; a retry of the event gets the same one, with `duplicate` set."""

    duplicate: bool
    processed_ms: int
    user_version: int
    """Grows with every change of the user's features, and is never reused; not a count."""
    actions: tuple[str, ...]
    stream_id: str


def pack_event(event: Event) -> bytes:
    """Canonical JSON of an event. `user_id` comes first: erasure recognises entries by that prefix."""
    return orjson.dumps(
        {
            "user_id": event.user_id,
            "event_id": event.event_id,
            "item_id": event.item_id,
            "event_type": event.event_type,
            "value": event.value,
            "timestamp_ms": event.timestamp_ms,
            "received_ms": event.received_ms,
            "recommendation_id": event.recommendation_id,
            "context": event.context,
            "categories": event.categories,
        }
    )


def user_prefix(user_id: str) -> bytes:
    """The bytes with which every packed event and exposure of a user begins."""
    return orjson.dumps({"user_id": user_id})[:-1] + b","


def event_digest(event_id: str) -> bytes:
    """8 bytes that stand for an event id among the latest events of its user."""
    return blake2b(event_id.encode(), digest_size=8).digest()


def unpack_result(answer: list[Any]) -> EventResult:
    """The answer of `record_event.lua`: duplicate, stream id, user version, mask."""
    duplicate, stream_id, version, mask = answer
    text = stream_id.decode()
    return EventResult(bool(duplicate), int(text.partition("-")[0]), int(version), _ACTIONS_OF_MASK[mask], text)
