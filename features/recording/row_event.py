"""An event from the loose fields of a row: the checks that an HTTP request passes, for files."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import orjson

from configs.event_types import EventTypes
from features.items.catalogue import Item
from features.recording.event import Event

MAX_ID_CHARS = 200


class RowError(ValueError):
    """A row cannot become an event. `field` names what is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def row_event(
    row: Mapping[str, Any],
    number: int,
    types: EventTypes,
    items: Mapping[str, Item],
    now_ms: int,
    max_future_s: int,
    open_catalogue: bool,
) -> Event:
    """The event in a row.

    Without an `event_id` it gets one made of the row's number and content, so that the same row of the same file is
    the same event whenever it comes.

    Raises:
        RowError: a field is missing or wrong.
    """
    user_id, item_id = _id_text(row, "user_id"), _id_text(row, "item_id")
    event_type = str(row.get("event_type", ""))
    if event_type not in types.by_name:
        raise RowError("event_type", f"unknown type {event_type!r}; known are {', '.join(types.by_name)}")
    item = items.get(item_id)
    if item is None and not open_catalogue:
        raise RowError("item_id", f"the catalogue does not list {item_id!r}")
    event_id = _id_text(row, "event_id") if "event_id" in row else f"row-{number}-{_digest(row)}"
    recommendation_id = row.get("recommendation_id")
    return Event(
        event_id=event_id,
        user_id=user_id,
        item_id=item_id,
        event_type=event_type,
        timestamp_ms=_time_ms(row, now_ms, max_future_s),
        value=_value(row, event_type, types),
        received_ms=now_ms,
        recommendation_id=None if recommendation_id is None else str(recommendation_id),
        context=_context(row),
        categories=item.categories if item else (),
    )


def _digest(row: Mapping[str, Any]) -> str:
    content = orjson.dumps({name: str(value) for name, value in row.items()}, option=orjson.OPT_SORT_KEYS)
    return blake2b(content, digest_size=8).hexdigest()


def _id_text(row: Mapping[str, Any], field: str) -> str:
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise RowError(field, "is required" if value is None else "must be a whole number or text")
    text = str(value)
    if not 0 < len(text) <= MAX_ID_CHARS:
        raise RowError(field, f"must hold 1 to {MAX_ID_CHARS} characters")
    if any(ord(char) < 32 or ord(char) == 127 for char in text) or not _encodable(text):
        raise RowError(field, "must not hold control characters")
    return text


def _encodable(text: str) -> bool:
    return not any(0xD800 <= ord(char) <= 0xDFFF for char in text)


def _time_ms(row: Mapping[str, Any], now_ms: int, max_future_s: int) -> int:
    if "timestamp_ms" in row:
        time_ms = int(_number(row, "timestamp_ms"))
    elif "timestamp" in row:
        time_ms = _timestamp(row)
    else:
        raise RowError("timestamp", "is required")
    if time_ms < 0:
        raise RowError("timestamp", "must not lie before 1970")
    if time_ms > now_ms + max_future_s * 1000:
        raise RowError("timestamp", f"lies more than {max_future_s} s ahead of the server's clock")
    return time_ms


def _timestamp(row: Mapping[str, Any]) -> int:
    value = row["timestamp"]
    if isinstance(value, datetime):
        moment = value
    else:
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            try:
                moment = datetime.fromisoformat(str(value))
            except ValueError:
                raise RowError("timestamp", "give seconds since 1970 or ISO 8601") from None
        else:
            if not abs(seconds) < 1e11:
                raise RowError("timestamp", "give seconds since 1970; milliseconds go into timestamp_ms")
            return int(seconds * 1000)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _value(row: Mapping[str, Any], event_type: str, types: EventTypes) -> float | None:
    if "rating" in row and "value" in row:
        raise RowError("value", "give either rating or value")
    field = "rating" if "rating" in row else "value"
    if field == "rating" and event_type != "rating":
        raise RowError("rating", f"an event of type {event_type} carries none")
    allowed = types[event_type].value
    if field not in row:
        if allowed is not None and allowed.required:
            raise RowError("rating" if event_type == "rating" else "value", f"is required for type {event_type}")
        return None
    if allowed is None:
        raise RowError(field, f"an event of type {event_type} carries none")
    value = _number(row, field)
    if not allowed.min <= value <= allowed.max:
        raise RowError(field, f"must be {allowed.min:g} to {allowed.max:g}, not {value:g}")
    return value


def _number(row: Mapping[str, Any], field: str) -> float:
    try:
        value = float(row[field])
    except (TypeError, ValueError):
        raise RowError(field, "must be a number") from None
    if not math.isfinite(value):
        raise RowError(field, "must be a finite number")
    return value


def _context(row: Mapping[str, Any]) -> dict[str, Any] | None:
    context = row.get("context")
    if isinstance(context, str):
        try:
            context = json.loads(context)
        except ValueError:
            raise RowError("context", "must be a JSON object") from None
    if context is not None and not isinstance(context, dict):
        raise RowError("context", "must be a JSON object")
    return context
