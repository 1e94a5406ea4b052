"""An answer that comes before the body was read ends the connection.

A large body is passed on while it comes. Whoever is refused at once, for want of a key or because the body is too long,
could send the rest for as long as they like, and would hold one of the proxy's few places for large bodies meanwhile.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUFFERED_BYTES = 14_000
"""Bodies up to this length the proxy holds whole before it passes them on (`deployments.proxy.config_text`)."""


class ClosesUnread:
    """Says `Connection: close` where `app` answers before it has read a large body to its end. An ASGI application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _passed_on(scope):
            await self._app(scope, receive, send)
            return
        whole = False

        async def receive_noted() -> Message:
            nonlocal whole
            message = await receive()
            whole = whole or not message.get("more_body", False)
            return message

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start" and not whole:
                others = [pair for pair in message["headers"] if pair[0].lower() != b"connection"]
                message = {**message, "headers": [*others, (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive_noted, send_noted)


def _passed_on(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return True
        if name == b"content-length":
            return not is_buffered(value)
    return False


def is_buffered(length: bytes) -> bool:
    """Whether the proxy holds a body whole that is said to be so long (Content-Length)."""
    return length.isdigit() and int(length[:10]) <= BUFFERED_BYTES
