"""Slashes in addresses: `a%2Fsimilar` is the item a/similar, and `a/similar` are the items that are like a.

Servers decode an address before it is routed, so that both would be the same. And no address but `/` ends in a slash,
unless it is encoded and ends an id.

Control characters are refused: a route also matches an address with a line break behind it, which a check of what the
address needs would take for another one.
"""

import re
from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.http.errors import invalid_field, not_found

OF_IDS = ("/api/v1/users/", "/api/v1/items/")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MARK = "\x1f"  # no id may hold control characters


class EncodedSlashes:
    """Keeps encoded slashes in the addresses of users and items apart from others, and answers 404 for an address that
    ends in another slash. An ASGI application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if _CONTROL.search(scope["path"]):
                refusal = invalid_field("an address must not contain control characters", None)
                await refusal.response()(scope, receive, send)
                return
            if scope["path"].startswith(OF_IDS):
                raw: bytes = scope.get("raw_path") or b""
                if b"%2f" in raw.lower():
                    marked = raw.decode("latin-1").replace("%2F", _MARK).replace("%2f", _MARK)
                    scope = {**scope, "path": unquote(marked)}
            path = scope["path"]
            if path.endswith("/") and path != "/":
                await not_found(path.replace(_MARK, "%2F")).response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


class IdInPath(Convertor[str]):
    """The rest of an address or what stands before its last word, with encoded slashes as slashes."""

    regex = ".*"

    def convert(self, value: str) -> str:
        return value.replace(_MARK, "/")

    def to_string(self, value: str) -> str:
        return value


def register_id_paths() -> None:
    """Let routes take ids, as in `/api/v1/items/{item_id:id}`."""
    register_url_convertor("id", IdInPath())
