"""What Serve is told to put in front of every replica's HTTP server (`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`)."""

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

_NO_WATCH = (b"x-request-disconnect-disabled", b"?1")


class FinishWhatIsBegun:
    """Lets Serve run a request in the task that it came in, without a second one that watches for a hang-up.

    That watch costs two tasks and a queue for every request. Requests here take milliseconds, so one whose client has
    gone may as well finish; an event whose client has gone must.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["headers"] = [*scope["headers"], _NO_WATCH]  # of equal names, Serve takes the last
        await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """Called by Serve in each replica."""
    return [Middleware(FinishWhatIsBegun)]
