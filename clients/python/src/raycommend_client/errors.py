"""What a call raises. Every answer that is no success becomes one of these, and so does the lack of an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from pydantic import ValidationError

from raycommend_client.models import ErrorAnswer, EventRequest


class RaycommendError(Exception):
    """The common class of all errors of this package."""


class ApiError(RaycommendError):
    """The server refused, or this client did so before it sent anything.

    Attributes:
        status: of HTTP.
        code: names the reason, as `invalid_field`; programs compare it.
        message: says it in words.
        field: the field that is wrong, where there is one.
        request_id: under which the server's log has the request; None where nothing was sent.
        retry_after_s: after which time the server asks to come again, where it says so.
        attempts: how often it was sent.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field
        self.request_id, self.retry_after_s = request_id, retry_after_s
        self.attempts = 0 if request_id is None else 1

    def __str__(self) -> str:
        parts = [f"field {self.field}" if self.field else "", f"request {self.request_id}" if self.request_id else ""]
        parts += [f"again after {self.retry_after_s:g} s" if self.retry_after_s is not None else ""]
        parts += [f"{self.attempts} attempts" if self.attempts > 1 else ""]
        return f"{self.status} {self.code}: {self.message} ({'; '.join(part for part in parts if part) or 'not sent'})"


class InvalidRequest(ApiError, ValueError):
    """400, 413, 415, 422: the request is wrong; `field` names what. It would be refused again."""


class NotAuthenticated(ApiError):
    """401: no key or token, or one that is not known or has ended."""


class NotAllowed(ApiError):
    """403: the key or token does not reach so far, or the server does not answer under this name."""


class NotFound(ApiError):
    """404: there is no such item, user or address."""


class Conflict(ApiError):
    """409: not possible now, or the `event_id` names another event."""


class RateLimited(ApiError):
    """429: the key has made all its requests of this minute."""


class Unavailable(ApiError):
    """408, 502, 503, 504: overloaded, or a part of the server is away; it may work later."""


class ServerError(ApiError):
    """Any other 5xx: the server could not do it."""


class UnexpectedAnswer(RaycommendError):
    """A success whose content is not what the document says: another server answered, or one that is too new."""

    def __init__(self, message: str, request_id: str) -> None:
        super().__init__(f"{message} (request {request_id})")
        self.request_id = request_id


class Unreachable(RaycommendError):
    """No answer: no connection, or none in time. What was sent may have been done all the same.

    Attributes:
        never_sent: no connection was made, so nothing was done.
        request_id, attempts: as in `ApiError`.
    """

    def __init__(self, message: str, request_id: str, never_sent: bool) -> None:
        super().__init__(message)
        self.request_id, self.never_sent = request_id, never_sent
        self.attempts = 1

    def __str__(self) -> str:
        return f"{self.args[0]} (request {self.request_id}; {self.attempts} attempts)"


@dataclass(frozen=True)
class RefusedEvent:
    """An event that the server will not take, and why."""

    event: EventRequest
    error: ApiError


class QueueFull(RaycommendError):
    """The queue holds as many events as it may. The event was not taken; `event` is given back.

    Its cause, where there is one, is why the events before could not be sent.
    """

    def __init__(self, event: EventRequest, most: int, cause: Exception | None) -> None:
        why = f"; the last try to send failed: {cause}" if cause else ""
        super().__init__(f"the queue holds {most} events, and event {event.event_id} has no room{why}")
        self.event = event
        self.__cause__ = cause


class EventsNotDelivered(RaycommendError):
    """Not all events reached the server.

    Attributes:
        refused: the server will not take these; they have left the queue.
        waiting: these could not be sent in time. They stay in the queue, unless it was closed: then they are the
            caller's, and may be put into another queue with the same ids.
    """

    def __init__(
        self, refused: Sequence[RefusedEvent], waiting: Sequence[EventRequest], cause: Exception | None
    ) -> None:
        parts = [f"{len(refused)} events were refused, the first: {refused[0].error}"] if refused else []
        parts += [f"{len(waiting)} events are not sent yet" + (f": {cause}" if cause else "")] if waiting else []
        super().__init__("; ".join(parts))
        self.refused, self.waiting = list(refused), list(waiting)
        self.__cause__ = cause


_BY_STATUS: dict[int, type[ApiError]] = {
    **dict.fromkeys((400, 413, 415, 422), InvalidRequest),
    **dict.fromkeys((408, 502, 503, 504), Unavailable),
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
}


def error_of(status: int, headers: Mapping[str, str], content: bytes, request_id: str) -> ApiError:
    """The error that an answer is. What does not come from the server itself, as a proxy's page, has the code
    `http_error`.
    """
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
    retry_after_s = _seconds(headers.get("retry-after"))
    try:
        error = ErrorAnswer.model_validate_json(content).error
    except ValidationError:
        words = content[:200].decode("utf-8", "replace").strip() or "no content"
        return kind(status, "http_error", words, None, request_id, retry_after_s)
    return kind(status, error.code, error.message, error.field, request_id, retry_after_s)


def invalid(error: ValidationError) -> InvalidRequest:
    """The error of a request that the models refuse: its first field that is wrong, named as the server does it.

    A field that takes a number or a text has a fault for each. What is wrong with a value of the right type says more
    than that it is not of the other type.
    """
    faults = error.errors(include_url=False)
    field = _field(faults[0]["loc"])
    own = [fault for fault in faults if _field(fault["loc"]) == field]
    telling = [fault for fault in own if not fault["type"].endswith("_type")] or own
    words = dict.fromkeys(fault["msg"].removeprefix("Input ") for fault in telling)
    return InvalidRequest(422, "invalid_field", f"{field}: {' or '.join(words)}", field)


def _field(place: Sequence[int | str]) -> str:
    """The name of a field, without what pydantic adds to tell the types of a union apart."""
    parts = [str(part) for part in place if isinstance(part, int) or part.isidentifier()]
    return ".".join(part for part in parts if part not in ("int", "str", "float", "bool") and not part[:1].isupper())


def _seconds(retry_after: str | None) -> float | None:
    """The header Retry-After in seconds: it holds a number of them, or a date."""
    if retry_after is None:
        return None
    try:
        return max(float(retry_after), 0.0)
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return max((moment - datetime.now(timezone.utc)).total_seconds(), 0.0)
