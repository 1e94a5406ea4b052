"""The public keys of an identity provider (JWKS), from a file or an address: kept, read again when they have aged, and
looked for again when a token names one that is not known."""

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from configs.groups.access import Jwt
from deployments.http import outgoing

logger = logging.getLogger("ray.serve")
MOST_BYTES = 1_000_000
MOST_KEYS = 100
FETCH_S = 3.0
FEWEST_RSA_BITS = 2048
PublicKey = RSAKey | ECKey
_KINDS = {"RS256": RSAKey, "ES256": ECKey}


class JwksError(Exception):
    """The keys cannot be read; those that were known last count on."""


class Jwks:
    """Finds public keys by their id.

    Args:
        jwt: where the keys are, and how often they may be read.
        on_change: called when the keys are others than before.

    Attributes:
        loaded: whether the keys could ever be read.
    """

    def __init__(self, jwt: Jwt, on_change: Callable[[], None]) -> None:
        self._jwt = jwt
        self._on_change = on_change
        self._raw = b""
        self._keys: list[tuple[str | None, PublicKey]] = []
        self._tried_s = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self.loaded = False

    async def find(self, kid: str | None, algorithm: str) -> list[PublicKey]:
        """The keys that may have signed: those with the id or, without an id, all of the kind. Empty: there is none.

        A key that is not known is looked for at most once in `refetch_s`; keys that have aged are read again beside
        the requests, which go on with those that are known.
        """
        age_s = time.monotonic() - self._tried_s
        found = self._of(kid, algorithm)
        if found and age_s <= self._jwt.keys_age_s:
            return found
        if age_s > (self._jwt.keys_age_s if found else self._jwt.refetch_s):
            self._start_reading()
        if found:
            return found
        if self._reading is not None and not self._reading.done():
            await asyncio.shield(self._reading)
        return self._of(kid, algorithm)

    def _of(self, kid: str | None, algorithm: str) -> list[PublicKey]:
        kind = _KINDS[algorithm]
        return [key for own, key in self._keys if isinstance(key, kind) and (kid is None or own == kid)]

    def _start_reading(self) -> None:
        if self._reading is None or self._reading.done():
            self._tried_s = time.monotonic()
            # In a context of its own: one request's hang-up must not cost the others the keys.
            loop = asyncio.get_running_loop()
            self._reading = loop.create_task(self._read(), context=contextvars.Context())

    async def _read(self) -> None:
        try:
            raw = await self._fetch()
            if raw != self._raw:
                self._keys = public_keys(raw, self._jwt.keys)
                self._raw = raw
                self._on_change()
            self.loaded = True
        except (JwksError, OSError, httpx.HTTPError) as error:
            logger.warning("the keys for tokens cannot be read from %s: %r", self._jwt.keys, error)

    async def _fetch(self) -> bytes:
        place = self._jwt.keys
        if "://" not in place:
            raw = await asyncio.to_thread(_read_file, Path(place))
        else:
            raw = b""
            async with (
                asyncio.timeout(FETCH_S),
                outgoing.client(FETCH_S, environment=True) as http,
                http.stream("GET", place) as answer,
            ):
                if answer.status_code != 200:
                    raise JwksError(f"it answers {answer.status_code}")
                async for part in answer.aiter_bytes():
                    raw += part
                    if len(raw) > MOST_BYTES:
                        break
        if len(raw) > MOST_BYTES:
            raise JwksError(f"it is larger than {MOST_BYTES} bytes")
        return raw


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def public_keys(raw: bytes, place: str) -> list[tuple[str | None, PublicKey]]:
    """The keys of a JWKS that can verify RS256 or ES256, with their ids; others are left out.

    Raises:
        JwksError: it is no JWKS, or holds none of these.
    """
    try:
        content = orjson.loads(raw)
        entries: list[Any] = content["keys"]
    except (ValueError, TypeError, KeyError) as error:
        raise JwksError(f'{place} is no JWKS, {{"keys": [...]}}') from error
    found: list[tuple[str | None, PublicKey]] = []
    for entry in entries[:MOST_KEYS] if isinstance(entries, list) else []:
        key = _public_key(entry)
        if key is not None:
            kid = entry.get("kid")
            found.append((kid if isinstance(kid, str) else None, key))
    if not found:
        raise JwksError(f"{place} holds no key for RS256 (of {FEWEST_RSA_BITS} bits or more) or ES256")
    return found


def _public_key(entry: Any) -> PublicKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    try:
        if entry.get("kty") == "RSA":
            # Six bits a character; the library would only warn of a short one.
            return RSAKey.import_key(entry) if len(entry["n"]) * 6 >= FEWEST_RSA_BITS else None
        if entry.get("kty") == "EC" and entry.get("crv") == "P-256":
            return ECKey.import_key(entry)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        logger.warning("a key for tokens is left out: %s", error)
    return None
