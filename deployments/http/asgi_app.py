"""The two busy applications, `recommend` and `events`, as plain ASGI.

Between the server and the answer stand one dictionary look-up, one validation by pydantic-core straight from the
bytes, and one write: a web framework's routing, middleware and encoding cost more than the recommendation's own
arithmetic (measured: 30 % of a ranking replica's time). Each endpoint is described once, and from that description
come both the route and its part of the OpenAPI document.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from deployments.http.errors import ApiError, invalid_field, method_not_allowed, not_found, store_error
from deployments.http.request_log import RequestLog
from deployments.http.schemas import ErrorAnswer
from features.redis.errors import StoreError

logger = logging.getLogger("ray.serve")
DRAIN_S = 10.0
# What was answered to one user is kept by no cache.
_HEADERS = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
JSON = "application/json"
BODY_S = 10.0
"""How long the rest of a body may take: a client that sends a byte a second must not hold a replica's place."""
ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorAnswer, "description": "No API key, or an unknown one, where keys are configured"},
    403: {"model": ErrorAnswer, "description": "The key's scope does not reach so far"},
    408: {"model": ErrorAnswer, "description": "The request was not complete in time"},
    413: {"model": ErrorAnswer, "description": "The body is too large"},
    415: {"model": ErrorAnswer, "description": "The body is not said to be application/json"},
    422: {"model": ErrorAnswer, "description": "A field is wrong; the error names it"},
    429: {"model": ErrorAnswer, "description": "The key has made all its requests of this minute"},
    503: {"model": ErrorAnswer, "description": "Overloaded, or the online store or the model is away; try again"},
    504: {"model": ErrorAnswer, "description": "No answer within the deadline"},
}


@dataclass(frozen=True)
class Endpoint:
    """A POST endpoint that takes JSON and answers JSON.

    Attributes:
        name: how metrics call it.
        answer: called with the body and the request's id; returns the answer's bytes.
        max_body_bytes: a longer body is refused with 413.
    """

    path: str
    name: str
    tag: str
    summary: str
    request: type[BaseModel]
    response: type[BaseModel]
    max_body_bytes: int
    answer: Callable[[bytes, str], Awaitable[bytes]]
    errors: dict[int | str, dict[str, Any]] = field(default_factory=lambda: ERRORS)


def _ignore(endpoint: str, status: int, error: str) -> None:
    return None


class EndpointApp:
    """An ASGI application that serves endpoints.

    Args:
        endpoints: with distinct paths.
        max_in_flight: requests worked on at once; one more is turned away at once, which a client can make more of
            than of an answer that comes too late.
        on_answer: called for every answer with the name of the endpoint, the status and the code of the error, if any.
        log: writes a line for some requests; None for none.

    Attributes:
        names: path -> name in metrics.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        max_in_flight: int,
        on_answer: Callable[[str, int, str], None] = _ignore,
        log: RequestLog | None = None,
    ) -> None:
        self._on_answer = on_answer
        self._log = log
        self._endpoints = {endpoint.path: endpoint for endpoint in endpoints}
        self.names = {endpoint.path: endpoint.name for endpoint in endpoints}
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._drained: asyncio.Event | None = None  # set while the server ends

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        body, content, failure = b"", b"", None
        logged = self._log if self._log is not None and self._log.wants() else None
        started = 0.0 if logged is None else time.perf_counter()
        try:
            endpoint = self._endpoint(scope)
            if scope.get("query_string"):
                raise _unknown_parameter(scope["query_string"])
            self._in_flight += 1
            try:
                body = await read_body(scope, receive, endpoint.max_body_bytes)
                content = await endpoint.answer(body, header(scope, b"x-request-id") or uuid.uuid4().hex)
            finally:
                self._in_flight -= 1
                if self._drained is not None and self._in_flight == 0:
                    self._drained.set()
        except ApiError as error:
            failure = error
        except StoreError as error:
            failure = store_error(error)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            failure = ApiError(500, "internal_error", "an unexpected error; the log of the replica has it")
        status, headers = 200, list[tuple[bytes, bytes]]()
        if failure is not None:
            status, headers, content = _error(failure)
        headers += [*_HEADERS, (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        asked = self._endpoints.get(scope["path"])
        if asked is not None:  # a path that somebody makes up must not become a metric
            code = failure.code if failure else ""
            self._on_answer(asked.name, status, code)
            if logged is not None:
                request_id = header(scope, b"x-request-id")
                logged.write(asked.name, request_id, status, code, body, content, time.perf_counter() - started)

    @property
    def in_flight(self) -> int:
        """Requests that are being worked on."""
        return self._in_flight

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """Answer the server's start and its end. The end waits for requests at hand, of which Serve does not know."""
        while True:
            message = await receive()
            ends = message["type"] == "lifespan.shutdown"
            if ends and self._in_flight:
                self._drained = asyncio.Event()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._drained.wait(), DRAIN_S)
            await send({"type": f"{message['type']}.complete"})
            if ends:
                return

    def _endpoint(self, scope: Scope) -> Endpoint:
        endpoint = self._endpoints.get(scope["path"])
        if endpoint is None:
            raise not_found(scope["path"])
        if scope["method"] != "POST":
            raise method_not_allowed(scope["method"], ("POST",))
        if self._in_flight >= self._max_in_flight:
            raise ApiError(503, "overloaded", f"{self._in_flight} requests are waiting already", retry_after_s=1)
        return endpoint


def _unknown_parameter(query: bytes) -> ApiError:
    name = parse_qsl(query.decode("latin-1"), keep_blank_values=True)[:1]
    field = name[0][0] if name else query.decode("latin-1")
    return invalid_field(f"unknown parameter {field!r}; leave it out: all that is asked stands in the body", field)


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body, refused with 413 as soon as it is known to be too long, with 408 when it takes too long, and with
    415 unless it is called JSON.

    A browser lets any page send text and forms to any address. Before JSON it asks that address first, which refuses.
    """
    too_large = ApiError(413, "body_too_large", f"the body may hold at most {limit} bytes")
    length = header(scope, b"content-length")
    if length.isdigit() and int(length) > limit:
        raise too_large
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):  # it is above the 16 KB that the proxy waits for
        try:
            async with asyncio.timeout(BODY_S):
                while message.get("more_body"):
                    message = await receive()
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise too_large
        except TimeoutError:
            raise ApiError(408, "request_timeout", f"the body was not complete within {BODY_S:g} s") from None
    if message["type"] == "http.disconnect":
        raise ApiError(400, "disconnected", "the client hung up before the body was complete")
    if len(body) > limit:
        raise too_large
    if body and not _is_json(header(scope, b"content-type")):
        raise ApiError(415, "json_needed", "the body must come as JSON, with the header Content-Type: application/json")
    return body


def _is_json(content_type: str) -> bool:
    return content_type == JSON or content_type.partition(";")[0].strip().lower() == JSON


def header(scope: Scope, wanted: bytes) -> str:
    """The first header of that name, empty without one.

    Of request ids the first is the client's own, if it sent one, and else that which the proxy gives every try.
    """
    for name, value in scope["headers"]:
        if name == wanted:
            return str(value, "latin-1")
    return ""


def _error(error: ApiError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    headers = [(name.encode(), value.encode()) for name, value in error.headers().items()]
    return error.status, headers, orjson.dumps({"error": error.content()})
