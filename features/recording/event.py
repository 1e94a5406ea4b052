"""An event and what recording it did."""

from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from typing import Any
from zlib import crc32

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

_PACK_VALUE = Struct("<d").pack
_ACTIONS_OF_MASK = [
    tuple(name for bit, name in enumerate(ACTIONS) if mask >> bit & 1) for mask in range(1 << len(ACTIONS))
]


@dataclass(frozen=True, slots=True)
class Event:
    """One interaction of a user with an item. Ids are text; times are ms since the epoch."""

    event_id: str
    """Unique per user. A repeated id within the window is the same event, or refused if it says something else."""
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


def event_digest(event: Event) -> bytes:
    """11 bytes by which an event is known among the latest of its user.

    8 stand for its id. The last 3 of these stand once more behind them, mixed with what the event says: a retry says
    the same, and another event under the same id does not (but for one in 16 million).
    """
    digest = blake2b(event.event_id.encode(), digest_size=8).digest()
    content = crc32(f"{event.item_id}\n{event.event_type}".encode())
    if event.value is not None:
        content = crc32(_PACK_VALUE(event.value), content)
    return digest + ((int.from_bytes(digest[5:]) ^ content) & 0xFFFFFF).to_bytes(3)


def unpack_result(answer: list[Any]) -> EventResult:
    """The answer of `record_event.lua`: duplicate, stream id, user version, mask."""
    duplicate, stream_id, version, mask = answer
    text = stream_id.decode()
    return EventResult(bool(duplicate), int(text.partition("-")[0]), int(version), _ACTIONS_OF_MASK[mask], text)
