"""What stands in front of Serve's own handling of a request, in every replica.

Serve's handling costs nearly as much as the rest of an event's way through the replica (measured: 0.09 of 0.21 ms).
What it gives in return the busy endpoints have of their own: a bounded number of requests (`HotApp`), their counts and
latencies (`RequestMetrics`), a deadline. So they are answered here, and Serve keeps what it is needed for: it starts,
places, scales, checks and drains the replicas. It finds this module by its flag for HTTP callbacks, in
`configs/ray_flags.yaml`. Serve's own proxy has it, too.
"""

import uuid
from asyncio import Transport
from collections.abc import Callable, Iterable
from typing import NamedTuple

import orjson
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from deployments.http.errors import ApiError

_NO_WATCH = (b"x-request-disconnect-disabled", b"?1")
_REQUEST_ID = b"x-request-id"
_CONTINUE = b"HTTP/1.1 100 "
NO_ANSWER = "the application gave no answer that can be passed on; try again"


class _Direct(NamedTuple):
    app: ASGIApp
    wants_serve: Callable[[Scope], bool]


_direct: dict[str, _Direct] = {}  # path -> the application that answers it; a process holds one replica


def answer_directly(paths: Iterable[str], app: ASGIApp, wants_serve: Callable[[Scope], bool]) -> None:
    """Let `app` answer requests for `paths` in this process without Serve's handling.

    Args:
        wants_serve: tells of a request whether it goes through Serve all the same.
    """
    for path in paths:
        _direct[path] = _Direct(app, wants_serve)


class Ingress:
    """Answers what can be answered directly, and hands Serve the rest.

    Serve gets a request without the second task that watches for a hang-up, which costs two tasks and a queue: requests
    here take milliseconds, so one whose client has gone may as well finish; an event whose client has gone must.
    """

    def __init__(self, serve: ASGIApp) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await _refuse(scope, send)
            return
        if scope["type"] != "http":
            await self._serve(scope, receive, send)
            return
        cycle = getattr(send, "__self__", None)
        # An answer to HEAD is all head: nothing follows that it could wait for.
        if isinstance(cycle, RequestResponseCycle) and scope["method"] != "HEAD":
            cycle.transport = HeadWithBody(cycle.transport)  # type: ignore[assignment]
        direct = _direct.get(scope["path"])
        if direct is None or direct.wants_serve(scope):
            scope["headers"] = [*scope["headers"], _NO_WATCH]  # Serve takes the last of several headers of one name.
            await self._by_serve(scope, receive, send)
        else:
            await direct.app(scope, receive, _named(scope, send))

    async def _by_serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve's own proxy, which HAProxy turns to while it knows no replica, says nothing when the replica that it
        chose dies with the request: uvicorn would answer 500. With this answer HAProxy sends the request again."""
        answered = False

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        await self._serve(scope, receive, noted)
        if not answered:
            await ApiError(502, "bad_gateway", NO_ANSWER, retry_after_s=1).response()(scope, receive, send)


async def _refuse(scope: Scope, send: Send) -> None:
    """There is no WebSocket on any path. Serve's own handling fails on the offer, and leaves the connection open."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
        return
    content = orjson.dumps({"error": ApiError(404, "not_found", "there is no WebSocket here; see /docs").content()})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "websocket.http.response.start", "status": 404, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": content})


def _named(scope: Scope, send: Send) -> Send:
    """`send` with the request's id in the answer, as Serve does it: the client's, else the proxy's, else a new one."""
    request_id = next((value for name, value in scope["headers"] if name == _REQUEST_ID), None)
    if request_id is None:
        request_id = uuid.uuid4().hex.encode()
        scope["headers"] = [*scope["headers"], (_REQUEST_ID, request_id)]

    async def send_named(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"].append((_REQUEST_ID, request_id))
        await send(message)

    return send_named


class HeadWithBody:
    """A connection as one response sees it: the head waits for what follows it, and both leave in one packet.

    uvicorn writes them apart, and each write wakes the proxy.
    """

    __slots__ = ("_head", "_transport", "_waits")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._head = b""
        self._waits = True

    def write(self, data: bytes) -> None:
        if self._waits:
            if data.startswith(_CONTINUE):
                self._transport.write(data)
                return
            self._head, self._waits = data, False
        elif self._head:
            self._transport.write(self._head + data)
            self._head = b""
        else:
            self._transport.write(data)

    def close(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


def middlewares() -> list[Middleware]:
    """The middlewares of a replica. Serve calls this function by its path, once in each replica."""
    return [Middleware(Ingress)]
