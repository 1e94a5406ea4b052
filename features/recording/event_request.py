"""An event as a client or a file gives it, and its way to an `Event`: the one validation for HTTP and for files."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictStr,
    WithJsonSchema,
)

from configs.event_types import EventTypes
from data.fields.ids import check_id, check_text
from data.fields.times import FORMS, moment_ms
from features.items.catalogue import Item
from features.recording.event import Event


class EventError(ValueError):
    """What was given is no event. `field` names what is wrong, and the message says why."""

    def __init__(self, field: str | None, message: str) -> None:
        super().__init__(message)
        self.field = field


class UnknownItem(EventError):  # noqa: N818 - callers answer it with 404
    """The catalogue is closed and does not list the item."""


def _check_text_id(value: str) -> str:
    return str(check_id(value))


def _check_context(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError("give an object")
    if len(value) > 20:
        raise ValueError("at most 20 entries")
    for key, entry in value.items():
        if not isinstance(key, str) or not 0 < len(key) <= 64:
            raise ValueError("a key has 1 to 64 characters")
        check_text(key)
        if entry is None:
            continue
        if isinstance(entry, str):
            if len(entry) > 200:
                raise ValueError(f"{key}: at most 200 characters")
            _named(key, entry)
        elif isinstance(entry, float):
            if not math.isfinite(entry):
                raise ValueError(f"{key}: must be a finite number")
        elif not isinstance(entry, int):
            raise ValueError(f"{key}: give a text, a number, true, false or null")
        elif abs(entry) >= 2**63:
            raise ValueError(f"{key}: a whole number must fit into 64 bits")
    return value


def _named(key: str, entry: str) -> None:
    try:
        check_text(entry)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _check_time(value: Any) -> float | str | None:
    # What it means is found out later, together with the server's clock.
    if isinstance(value, bool) or not (value is None or isinstance(value, int | float | str)):
        raise ValueError(FORMS)
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("a whole number must fit into 64 bits")
    return value


_ID_SCHEMA = {"anyOf": [{"type": "integer"}, {"type": "string", "minLength": 1, "maxLength": 200}]}
_CONTEXT_SCHEMA = {"anyOf": [{"type": "object", "maxProperties": 20}, {"type": "null"}]}
_TIME_SCHEMA = {"anyOf": [{"type": "number"}, {"type": "string", "format": "date-time"}, {"type": "null"}]}

# One plain check each instead of unions: a union reports its members' faults and not the field's.
Id = Annotated[int | str, PlainValidator(check_id), WithJsonSchema(_ID_SCHEMA)]
TextId = Annotated[StrictStr, AfterValidator(_check_text_id)]
Context = Annotated[dict[str, Any] | None, PlainValidator(_check_context), WithJsonSchema(_CONTEXT_SCHEMA)]
Timestamp = Annotated[float | str | None, PlainValidator(_check_time), WithJsonSchema(_TIME_SCHEMA)]


class EventRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user_id: Id = Field(examples=[196])
    item_id: Id = Field(examples=[242])
    event_type: StrictStr = Field(examples=["rating"])
    rating: float | None = Field(None, strict=True, allow_inf_nan=False, description="for event_type rating")
    value: float | None = Field(None, strict=True, allow_inf_nan=False, description="for example seconds watched")
    timestamp: Timestamp = Field(
        None,
        description="seconds since 1970 (or milli-, micro- or nanoseconds: the size tells), ISO 8601, or a date, from "
        "1990 on; the time of arrival when absent",
    )
    event_id: TextId | None = Field(
        None,
        description="repeat it in a retry, and the event counts once; with another item, type or value it is refused",
    )
    recommendation_id: (
        Annotated[StrictStr, Field(min_length=1, max_length=64), AfterValidator(_check_text_id)] | None
    ) = None
    context: Context = None


@dataclass(frozen=True, slots=True)
class EventRules:
    """What the types and the settings allow."""

    types: EventTypes
    max_future_s: float
    open_catalogue: bool


def checked_event(
    request: EventRequest, event_id: str, rules: EventRules, items: Mapping[str, Item], now_ms: int
) -> Event:
    """The event that a request means, after the checks that a schema cannot make: type, item, value, time.

    Args:
        event_id: that of the request, or one made where it has none.
        items: the catalogue.

    Raises:
        EventError: a field is wrong.
        UnknownItem: the catalogue is closed and does not list the item.
    """
    if request.event_type not in rules.types.by_name:
        known = ", ".join(rules.types.by_name)
        raise EventError("event_type", f"event_type: unknown type {request.event_type!r}; known are {known}")
    item_id = str(request.item_id)
    item = items.get(item_id)
    if item is None and not rules.open_catalogue:
        raise UnknownItem("item_id", f"item_id: the catalogue does not list {item_id!r}")
    return Event(
        event_id=event_id,
        user_id=str(request.user_id),
        item_id=item_id,
        event_type=request.event_type,
        timestamp_ms=now_ms if request.timestamp is None else _time_ms(request.timestamp, rules.max_future_s, now_ms),
        value=_value(request, rules.types),
        received_ms=now_ms,
        recommendation_id=request.recommendation_id,
        context=request.context,
        categories=tuple(item.categories) if item else (),
    )


def _value(request: EventRequest, types: EventTypes) -> float | None:
    """The event's value, in its type's range. A rating may come under either name, but not under both."""
    field, value = ("rating", request.rating) if request.rating is not None else ("value", request.value)
    if request.rating is not None:
        if request.event_type != "rating":
            raise EventError("rating", f"rating: an event of type {request.event_type} carries none")
        if request.value is not None:
            raise EventError("value", "value: give either rating or value")
    allowed = types[request.event_type].value
    if allowed is None:
        if value is not None:
            raise EventError("value", f"value: an event of type {request.event_type} carries none")
        return None
    if value is None:
        if allowed.required:
            field = "rating" if request.event_type == "rating" else "value"
            raise EventError(field, f"{field} is required for an event of type {request.event_type}")
        return None
    if not allowed.min <= value <= allowed.max:
        least, most, given = (_plain(number) for number in (allowed.min, allowed.max, value))
        raise EventError(field, f"{field}: must be {least} to {most}, not {given}")
    return value


def _plain(number: float) -> str:
    """A number with all of its digits: by six of them, one just out of range reads like its end."""
    return repr(float(number)).removesuffix(".0")


def _time_ms(timestamp: float | str, max_future_s: float, now_ms: int) -> int:
    try:
        time_ms = moment_ms(timestamp)
    except ValueError as error:
        raise EventError("timestamp", f"timestamp: {error}") from None
    ahead_s = (time_ms - now_ms) / 1000
    if ahead_s > max_future_s:
        words = f"{ahead_s:.0f} s ahead of the server's clock; at most {max_future_s} s"
        raise EventError("timestamp", f"timestamp: {words}")
    return time_ms
