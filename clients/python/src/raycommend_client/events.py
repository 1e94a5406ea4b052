"""Events as they are sent: with an id each, which makes a second sending harmless."""

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from raycommend_client.errors import InvalidRequest, invalid
from raycommend_client.models import EventRequest


class Event(EventRequest):
    """An event, as `Event.of(196, 50, "click")` makes it."""

    @classmethod
    def of(
        cls, user_id: int | str, item_id: int | str, event_type: str, *,
        timestamp: float | str | datetime | None = None, **fields: Any,
    ) -> "Event":  # fmt: skip
        """An event; `fields` are the others of `EventRequest`.

        Raises:
            InvalidRequest: a field is wrong; it is named.
        """
        if isinstance(timestamp, datetime):
            if timestamp.tzinfo is None:
                words = "timestamp: give it a time zone; without one it could mean any"
                raise InvalidRequest(422, "invalid_field", words, "timestamp")
            timestamp = timestamp.isoformat()
        given = {"user_id": user_id, "item_id": item_id, "event_type": event_type, "timestamp": timestamp, **fields}
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            raise invalid(error) from None


def new_event_id() -> str:
    """An id that no other event has."""
    return uuid.uuid4().hex


def with_ids(events: Iterable[EventRequest]) -> list[EventRequest]:
    """The events, each with an id: its own, or else a new one. What was given stays as it was."""
    return [
        event if event.event_id is not None else event.model_copy(update={"event_id": new_event_id()})
        for event in events
    ]
