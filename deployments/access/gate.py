"""The gate in front of every application: who asks, and whether the request may pass."""

import hashlib
from collections.abc import Callable, Sequence

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.access.audit_trail import AuditTrail
from deployments.access.browser import PLAIN
from deployments.access.caller import CALLER, CURRENT, Caller
from deployments.access.keyless import Keyless
from deployments.access.known_keys import KnownKeys
from deployments.access.scopes import ADMIN, SCOPES, WHOAMI, needed_scope
from deployments.access.tokens import Tokens, looks_like_token
from deployments.http.errors import ApiError

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        need = needed_scope(scope["method"], scope["path"])
        caller: Caller | None = None
        try:
            if self._known.asks:
                caller = await self._caller(scope)
                scope[CALLER] = caller
                if caller is not None:
                    CURRENT.set(caller)
                if need is not None:
                    await self._check(caller, need)
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

    async def _caller(self, scope: Scope) -> Caller | None:
        """Who asks; None for nobody in particular. Raises ApiError 401 for an unknown key or a token that is bad."""
        given = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                given = value
                break
        if given is None:
            return None
        kind, _, text = given.partition(b" ")
        if kind.lower() == b"bearer":
            text = text.strip()
            # The time of a look-up tells how far two hashes agree at most, and the hash of a guess says nothing about
            # the key.
            digest = hashlib.sha256(text).hexdigest()
            found = self._known.find(digest)
            if found is not None:
                return found
            if self._tokens is not None:
                remembered = self._tokens.remembered(digest)
                if remembered is not None:
                    return remembered
                if looks_like_token(text):
                    return await self._tokens.verify(text, digest)
        raise ApiError(401, "bad_key", "this API key is not known here; give one as: Authorization: Bearer KEY")

    async def _check(self, caller: Caller | None, need: Sequence[str]) -> None:
        if caller is None:
            raise ApiError(401, "key_needed", "an API key is needed; give it as: Authorization: Bearer KEY")
        if caller.scopes.isdisjoint(need):
            wanted, has = " or ".join(need), ", ".join(caller.listed) or "none"
            raise ApiError(403, "scope_needed", f"this needs the scope {wanted}; the {caller.shown} has {has}")
        if caller.limit is not None:
            await caller.limit.take()

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


async def _answer(
    send: Send, status: int, content: dict[str, object], headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    body = orjson.dumps(content)
    own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *PLAIN, *headers]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body})
