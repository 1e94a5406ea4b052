"""The gate in front of every application: who asks, and whether the request may pass."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.access.audit_trail import AuditTrail
from deployments.access.browser import PLAIN
from deployments.access.caller import CALLER, CURRENT, Caller
from deployments.access.keyless import Keyless
from deployments.access.known_keys import KnownKeys
from deployments.access.limits import Limit
from deployments.access.scopes import ADMIN, SCOPES, WHOAMI, needed_scope
from deployments.access.tokens import Tokens, looks_like_token
from deployments.http.errors import ApiError
from deployments.http.unread_bodies import ClosesUnread, is_buffered

BEARER = b"Bearer "
Refused = Callable[[str, int, str], None]
"""A callback that gets path, status and error code of every request that is turned away."""


def _ignore(path: str, status: int, error: str) -> None:
    return None


class AccessGate:
    """Lets a request through to `app` when its key or token allows it. An ASGI application.

    Where nobody is asked for a key, this machine may do everything; see `Keyless`. That is looked at for each request,
    since the first key may be made while the system runs.

    Args:
        app: the application behind the gate.
        known: the keys that are valid.
        keyless: tells who may ask as long as there are none.
        tokens: takes tokens beside keys; None takes none.
        audit: writes down what admins do and what is refused; None writes nothing.
        on_refused: counts what is turned away; the application never sees it.
    """

    def __init__(
        self,
        app: ASGIApp,
        known: KnownKeys,
        keyless: Keyless,
        tokens: Tokens | None = None,
        audit: AuditTrail | None = None,
        on_refused: Refused = _ignore,
    ) -> None:
        self._app = app
        self._known = known
        self._keyless = keyless
        self._tokens = tokens
        self._audit = audit
        self._on_refused = on_refused
        self._with_care = ClosesUnread(self._look)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # No coroutine of its own for what passes at once, as nearly all does: beside an event it would be dear. So
        # uvicorn does not take it for an application by itself; another stands in front of it.
        if scope["type"] != "http" or self._passes_at_once(scope):
            return self._app(scope, receive, send)
        return self._with_care(scope, receive, send)

    def _passes_at_once(self, scope: Scope) -> bool:
        """Whether nothing is left to ask or to write down: a body that is there, a key or token that is known, whose
        scopes open what is asked and whose limit holds it. It is counted then. Or nobody is asked for a key, and this
        machine asks."""
        need = needed_scope(scope["method"], scope["path"])
        if need is None or need is ADMIN:
            return False
        if not self._known.asks:
            return self._keyless.passes_at_once(scope)
        login: bytes | None = None
        length = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                login = value if login is None else login
            elif name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                return False
        if login is None or not login.startswith(BEARER) or (length and not is_buffered(length)):
            return False
        caller = self._seen(login[len(BEARER) :])
        if caller is None or caller.scopes.isdisjoint(need):
            return False
        if caller.limit is not None and not caller.limit.spend():
            return False
        CURRENT.set(caller)
        scope[CALLER] = caller
        return True

    async def _look(self, scope: Scope, receive: Receive, send: Send) -> None:
        need = needed_scope(scope["method"], scope["path"])
        caller: Caller | None = None
        try:
            if self._known.asks:
                text = _bearer(scope)
                if text is not None:
                    caller = self._seen(text) or await self._found(text)
                    CURRENT.set(caller)
                scope[CALLER] = caller
                if need is not None:
                    limit = _allowed(caller, need)
                    if limit is not None and not limit.spend():
                        await limit.take()
            else:
                self._keyless.check(scope)
            if scope["path"] == WHOAMI:
                await _answer(send, 200, self._whoami(caller))
                return
        except ApiError as error:
            await self._refuse(scope, send, need, error)
            return
        if need is ADMIN and self._audit is not None and scope["method"] not in ("GET", "HEAD"):
            send = self._audit.watched(scope, send)
        await self._app(scope, receive, send)

    def _seen(self, text: bytes) -> Caller | None:
        caller = self._known.seen(text)
        if caller is None and self._tokens is not None:
            return self._tokens.seen(text)
        return caller

    async def _found(self, text: bytes) -> Caller:
        """Who has this key or token. Raises ApiError 401 for an unknown key or a token that is bad."""
        # The time of a look-up tells how far two hashes agree at most, and the hash of a guess says nothing about the
        # key.
        found = self._known.find(text, hashlib.sha256(text).hexdigest())
        if found is not None:
            return found
        if self._tokens is not None and looks_like_token(text):
            return await self._tokens.verify(text)
        raise _bad_key()

    async def _refuse(self, scope: Scope, send: Send, need: Sequence[str] | None, error: ApiError) -> None:
        headers = [(b"www-authenticate", b"Bearer")] if error.status == 401 else []
        if error.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % error.retry_after_s))
        self._on_refused(scope["path"], error.status, error.code)
        # A page that nobody has given a key yet asks without one, again and again: that is no try.
        if self._audit is not None and (need is ADMIN or error.code not in ("key_needed", "rate_limited")):
            await self._audit.refused(scope, error)
        await _answer(send, error.status, {"error": error.content()}, headers)

    def _whoami(self, caller: Caller | None) -> dict[str, object]:
        if not self._known.asks:
            return {"name": None, "scopes": list(SCOPES)}
        if caller is None:
            return {"name": None, "scopes": []}
        return {"name": caller.name, "scopes": [scope for scope in SCOPES if scope in caller.scopes]}


def _bearer(scope: Scope) -> bytes | None:
    """The key or token that a request brings; None without one. Raises ApiError 401 for another kind of login."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, text = value.partition(b" ")
            if kind.lower() != b"bearer":
                raise _bad_key()
            return bytes(text.strip())
    return None


def _bad_key() -> ApiError:
    return ApiError(401, "bad_key", "this API key is not known here; give one as: Authorization: Bearer KEY")


def _allowed(caller: Caller | None, need: Sequence[str]) -> Limit | None:
    """The limit of a caller whose scopes open what is asked. Raises ApiError 401, 403."""
    if caller is None:
        raise ApiError(401, "key_needed", "an API key is needed; give it as: Authorization: Bearer KEY")
    if caller.scopes.isdisjoint(need):
        wanted, has = " or ".join(need), ", ".join(caller.listed) or "none"
        raise ApiError(403, "scope_needed", f"this needs the scope {wanted}; the {caller.shown} has {has}")
    return caller.limit


async def _answer(
    send: Send, status: int, content: dict[str, object], headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    body = orjson.dumps(content)
    own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *PLAIN, *headers]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body})
