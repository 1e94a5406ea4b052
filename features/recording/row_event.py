"""An event from a row of a file: its cells as the values of a request, which then takes the way of one over HTTP."""

import json
from collections.abc import Mapping
from datetime import date
from hashlib import blake2b
from typing import Any

import orjson
from pydantic import ValidationError

from data.fields.cells import id_cell, is_absent, json_cell, number_cell, text_cell
from data.fields.faults import first_fault
from data.fields.times import milliseconds, moment_ms
from features.items.catalogue import Item
from features.recording.event import Event
from features.recording.event_request import EventError, EventRequest, EventRules, checked_event

CELLS = {
    "user_id": id_cell,
    "item_id": id_cell,
    "timestamp": number_cell,
    "timestamp_ms": number_cell,
    "rating": number_cell,
    "value": number_cell,
    "event_id": text_cell,
    "recommendation_id": text_cell,
    "context": json_cell,
}


def row_event(
    row: Mapping[str, Any], number: int, typed: bool, rules: EventRules, items: Mapping[str, Item], now_ms: int
) -> Event:
    """The event in a row.

    Without an `event_id` it gets one made of the row's number and content, so that the same row of the same file is
    the same event whenever it comes.

    Args:
        typed: the row was JSON, whose values are what they are; cells of a table are read as such values first.

    Raises:
        EventError: a field is missing or wrong, in the words of HTTP.
    """
    values = dict(row) if typed else _values(row)
    values["timestamp"] = _timestamp(values)
    try:
        request = EventRequest.model_validate(values)
    except ValidationError as error:
        raise EventError(*first_fault(error.errors(include_url=False, include_context=False))) from None
    return checked_event(request, request.event_id or made_id(row, number), rules, items, now_ms)


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    """The cells that hold something, as JSON would have them."""
    values = {}
    for field, cell in row.items():
        if is_absent(cell):
            continue
        read = CELLS.get(field)
        try:
            values[field] = cell if read is None else read(cell)
        except ValueError as error:
            raise EventError(field, f"{field}: {error}") from None
    return values


def _timestamp(values: dict[str, Any]) -> Any:
    """The one time that a row gives in two fields. In a file it is required: the time of arrival would be that of the
    import."""
    given, given_ms = values.get("timestamp"), values.pop("timestamp_ms", None)
    if given is None and given_ms is None:
        raise EventError("timestamp", "timestamp is required")
    field = "timestamp"
    try:
        if isinstance(given, date):  # a datetime is one too
            given = moment_ms(given)
        if given_ms is None:
            return given
        field = "timestamp_ms"
        time_ms = milliseconds(given_ms)
    except ValueError as error:
        raise EventError(field, f"{field}: {error}") from None
    if given is None:
        return time_ms
    try:
        other_ms = moment_ms(given)
    except ValueError as error:
        raise EventError("timestamp", f"timestamp: {error}") from None
    if abs(other_ms - time_ms) >= 1000:
        raise EventError("timestamp", "timestamp: it contradicts timestamp_ms; give one of them")
    return time_ms


def made_id(row: Mapping[str, Any], number: int) -> str:
    """The id of an event whose row gives none."""
    given = {name: str(value) for name, value in row.items() if value not in ("", None)}
    try:
        content = orjson.dumps(given, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # half of a character, which the validation refuses by its field
        content = json.dumps(given, sort_keys=True).encode()
    return f"row-{number}-{blake2b(content, digest_size=8).hexdigest()}"
