"""What browsers heed: headers that keep answers out of caches and frames, and which other origins' pages may ask."""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PLAIN = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
"""For answers that no page is made of: no cache keeps them, and no browser takes them for something else."""
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
)
_NO_STORE = (b"cache-control", b"no-store")
PREFLIGHT_S = 600


class BrowserHeaders:
    """Adds to each answer of `app` what it has not set itself. Answers of the API are kept by no cache."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = (*_ALWAYS, _NO_STORE) if scope["path"].startswith("/api/") else _ALWAYS

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                given = {name for name, _ in headers}
                message["headers"] = [*headers, *(pair for pair in wanted if pair[0] not in given)]
            await send(message)

        await self._app(scope, receive, send_guarded)


def open_to(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Let pages of these origins call `app` from a browser (CORS), preflight included; without any, `app` itself."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=list(origins),
        allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
        allow_headers=["authorization", "content-type", "if-none-match", "x-request-id"],
        expose_headers=["etag", "retry-after", "x-request-id"],
        max_age=PREFLIGHT_S,
    )
