"""API keys: who may call what, and how often. `python -m deployments.http.api_keys NAME --scopes recommend,events`

Without configured keys nothing is asked and nothing costs anything; then only the loopback address is served (see
`configs.settings`). A key is 32 random bytes, so one round of SHA-256 is enough to keep: there is nothing to guess.
"""

import argparse
import hashlib
import hmac
import ipaddress
import math
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import orjson
import yaml
from starlette.types import ASGIApp, Receive, Scope, Send

from configs.settings import ApiKey
from deployments.http.errors import ApiError
from features.redis.connection import StoreClient
from features.redis.errors import StoreError, StoreUnavailable
from features.redis.keys import Keys

PREFIX = "rk_"
WINDOW_S = 60
COUNT_S = 0.25
"""How long a request may wait to be counted."""
REST_S = 1.0
"""How long nothing is counted after the store was silent."""
CALLER = "raycommend.key"
"""Where the ASGI scope holds the name of the key that a request came with."""
SCOPES = ("recommend", "events", "read", "admin")
Need = tuple[str, ...] | None
"""The scopes any of which opens a request; None: anybody may."""
ADMIN: Need = ("admin",)
WHOAMI = "/api/v1/console/key"
_PUBLIC = frozenset(("/", "/health", "/health/live", "/health/ready", "/docs", "/openapi.json"))
_PUBLIC_FILES = ("/console/", "/static/docs/")
_DONE_BY_USERS = ("/api/v1/users", "/api/v1/data/events")
_CATALOGUE = ("/api/v1/catalogue", "/api/v1/items", "/api/v1/trending", "/api/v1/categories")


def needed_scope(method: str, path: str) -> Need:
    """The scopes any of which opens a request; `admin` opens all. What is not named here is for admins alone."""
    if path == WHOAMI:
        return None
    if method == "POST" and _within(path, "/api/v1/recommend"):
        return ("recommend",)
    if method == "POST" and _within(path, "/api/v1/events"):
        return ("events",)
    if method not in ("GET", "HEAD"):
        return ADMIN
    # Pages and health need no key: all else that they show, they ask the API for.
    if path in _PUBLIC or path.startswith(_PUBLIC_FILES):
        return None
    if any(_within(path, part) for part in _CATALOGUE):
        return ("recommend", "read")
    # What users did is for admins: a key that only watches must not carry it away.
    if any(_within(path, part) for part in _DONE_BY_USERS):
        return ADMIN
    if _within(path, "/api/v1/experiments") and path.endswith("/users"):
        return ADMIN
    if path == "/metrics" or path.startswith("/api/v1/"):
        return ("read",)
    return ADMIN


def _within(path: str, part: str) -> bool:
    return path == part or path.startswith(f"{part}/")


Refused = Callable[[str, int, str], None]
"""A callback that gets path, status and error code of every request that is turned away."""


def _ignore(path: str, status: int, error: str) -> None:
    return None


class ApiKeyGate:
    """Lets a request through to `app` when its key allows it. An ASGI application.

    Args:
        app: the application behind the gate.
        keys: the keys that are valid, at least one.
        count: counts a request of a key with a limit; returns how many it has made within this minute. An error of the
            store lets the request pass: whoever has a key is worth more than an exact limit.
        on_refused: counts what is turned away; the application never sees it.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Sequence[ApiKey],
        count: Callable[[str], Awaitable[int]],
        on_refused: Refused = _ignore,
    ) -> None:
        self._app = app
        self._on_refused = on_refused
        self._keys = {key.sha256: key for key in keys}
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            key = self._key(scope)
            if scope["path"] == WHOAMI:
                await _answer(send, 200, {"name": key.name if key else None, "scopes": _scopes(key)})
                return
            await self._check(key, scope)
            scope[CALLER] = key.name if key else None
        except ApiError as error:
            headers = [(b"www-authenticate", b"Bearer")] if error.status == 401 else []
            if error.retry_after_s is not None:
                headers.append((b"retry-after", b"%d" % error.retry_after_s))
            self._on_refused(scope["path"], error.status, error.code)
            await _answer(send, error.status, {"error": error.content()}, headers)
            return
        await self._app(scope, receive, send)

    def _key(self, scope: Scope) -> ApiKey | None:
        """The key that the request brings; None without one. Raises ApiError 401 for an unknown one."""
        given = next((value for name, value in scope["headers"] if name == b"authorization"), None)
        if given is None:
            return None
        kind, _, text = given.partition(b" ")
        digest = hashlib.sha256(text.strip()).hexdigest()
        found = self._keys.get(digest) if kind.lower() == b"bearer" else None
        # The time of a look-up tells how far two hashes agree at most, and the hash of a guess says nothing about the
        # key.
        if found is None or not hmac.compare_digest(found.sha256, digest):
            raise ApiError(401, "bad_key", "this API key is not known here; give one as: Authorization: Bearer KEY")
        return found

    async def _check(self, key: ApiKey | None, scope: Scope) -> None:
        need = needed_scope(scope["method"], scope["path"])
        if need is None:
            return
        if key is None:
            raise ApiError(401, "key_needed", "an API key is needed; give it as: Authorization: Bearer KEY")
        if not set(need) & set(_scopes(key)):
            wanted = " or ".join(need)
            raise ApiError(403, "scope_needed", f"this needs the scope {wanted}; the key {key.name} has {_listed(key)}")
        if key.per_minute is not None:
            try:
                made = await self._count(key.name)
            except StoreError:
                return
            if made > key.per_minute:
                wait_s = math.ceil(WINDOW_S - time.time() % WINDOW_S)
                message = f"the key {key.name} may make {key.per_minute} requests a minute"
                raise ApiError(429, "rate_limited", message, retry_after_s=wait_s)


class KeylessGate:
    """Gives everybody on this machine every scope, where no keys are configured.

    A page of another site, which a browser on this machine may show, is refused all changes: browsers say in
    `Sec-Fetch-Site` and `Origin` where a request comes from, and pages cannot forge that. And a request must name this
    machine in its Host: a page whose own name was made to point here (DNS rebinding) counts as this site, and could
    read all.

    Args:
        hosts: other names by which this machine may be asked, as behind a reverse proxy.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = (), on_refused: Refused = _ignore) -> None:
        self._app = app
        self._on_refused = on_refused
        self._others = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            error = self._refusal(scope)
            if error is not None:
                self._on_refused(scope["path"], error.status, error.code)
                await _answer(send, error.status, {"error": error.content()})
                return
            if scope["path"] == WHOAMI:
                await _answer(send, 200, {"name": None, "scopes": list(SCOPES)})
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if not all(map(self._names_this_machine, hosts)):  # Browsers always send one.
            message = "this server is asked for as localhost; security.hosts may allow more names"
            return ApiError(403, "unknown_host", message)
        if scope["method"] not in ("GET", "HEAD") and self._from_elsewhere(scope, hosts):
            return ApiError(403, "cross_site", "a page of another site may not change anything here")
        return None

    def _from_elsewhere(self, scope: Scope, hosts: Sequence[bytes]) -> bool:
        for name, value in scope["headers"]:
            if name == b"sec-fetch-site" and value.lower() in (b"cross-site", b"same-site"):
                return True
            # Another port of this machine is another site too. "null" is what a page of no address sends.
            if name == b"origin":
                origin = value.rpartition(b"//")[2].lower()
                if origin not in [host.lower() for host in hosts] and _name_in(origin) not in self._others:
                    return True
        return False

    def _names_this_machine(self, host: bytes) -> bool:
        name = _name_in(host)
        return name in ("localhost", *self._others) or _is_loopback(name)


def _name_in(host: bytes) -> str:
    name = host.decode("latin-1").lower()
    return name[1 : name.find("]")] if name.startswith("[") else name.partition(":")[0]


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def counter(client: StoreClient, keys: Keys, most_waiting: int) -> Callable[[str], Awaitable[int]]:
    """A function that counts the requests of a key in the present minute, over all replicas, in the store.

    A store that is silent is left alone for a while, so that only the requests of one moment wait for it, and of these
    no more than `most_waiting`: they wait in front of the application, where nothing else bounds them.

    Args:
        client: with a short timeout: whoever waits here has the deadline of the request still ahead.
    """
    asked_again_s, waiting = 0.0, 0

    async def count(name: str) -> int:
        nonlocal asked_again_s, waiting
        if time.monotonic() < asked_again_s:
            raise StoreUnavailable("the online store was silent a moment ago")
        if waiting >= most_waiting:
            raise ApiError(503, "overloaded", f"{waiting} requests are waiting already", retry_after_s=1)
        waiting += 1
        key = keys.rate(name, int(time.time() // WINDOW_S))
        try:
            made, _ = await client.read([("INCR", key), ("EXPIRE", key, 2 * WINDOW_S)])
        except StoreUnavailable:
            asked_again_s = time.monotonic() + REST_S
            raise
        finally:
            waiting -= 1
        return int(made)

    return count


def _scopes(key: ApiKey | None) -> list[str]:
    if key is None:
        return []
    return list(SCOPES) if "admin" in key.scopes else list(key.scopes)


def _listed(key: ApiKey) -> str:
    return ", ".join(key.scopes)


async def _answer(
    send: Send, status: int, content: dict[str, object], headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    body = orjson.dumps(content)
    own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body})


def make_key(name: str, scopes: Sequence[str], per_minute: int | None) -> tuple[str, ApiKey]:
    """A new key, and what the settings keep of it. Raises ValueError naming a bad field."""
    key = PREFIX + secrets.token_urlsafe(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    return key, ApiKey(name=name, sha256=digest, scopes=tuple(scopes), per_minute=per_minute)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a new key once, and the lines for the settings file."""
    parser = argparse.ArgumentParser(prog="python -m deployments.http.api_keys", description="Make an API key.")
    parser.add_argument("name", help="who will use it")
    parser.add_argument("--scopes", default="recommend,events", help=f"of {', '.join(SCOPES)}")
    parser.add_argument("--per-minute", type=int, help="requests a minute at most")
    given = parser.parse_args(arguments)
    try:
        key, kept = make_key(given.name, [scope for scope in given.scopes.split(",") if scope], given.per_minute)
    except ValueError as error:
        print(f"api_keys: {error}", file=sys.stderr)
        return 2
    print(f"The key, shown this once:\n\n  {key}\n\nFor the YAML file that RAYCOMMEND_CONFIG names:\n")
    lines = {"security": {"keys": [kept.model_dump(mode="json", exclude_none=True)]}}
    print(yaml.safe_dump(lines, sort_keys=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
