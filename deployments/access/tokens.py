"""Signed tokens (JWT) as an alternative to API keys: verified once, and remembered until they expire."""

import binascii
import time
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from typing import Any

import orjson
from joserfc import jwt
from joserfc.errors import BadSignatureError, ClaimError, ExpiredTokenError, JoseError
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

from configs.groups.access import Jwt
from deployments.access.caller import Caller, all_scopes
from deployments.access.jwks import Jwks
from deployments.access.limits import Count, Limit
from deployments.access.scopes import SCOPES
from deployments.http.errors import ApiError

MOST_KEYS_TRIED = 4
LONGEST_NAME = 200
REMEMBERED_S = 3600.0
"""How long a token is remembered at most; then it is verified again."""
_OF_USERS = frozenset(("recommend", "events"))
"""What a token of one user may reach at most."""


class Tokens:
    """Tells callers by their tokens.

    Args:
        settings: which tokens count.
        count: counts requests where subjects have a limit.
    """

    def __init__(self, settings: Jwt, count: Count) -> None:
        self._settings = settings
        self._count = count
        self._jwks = Jwks(settings, self._forget)
        self._remembered: dict[bytes, tuple[Caller, float]] = {}
        self._claims = JWTClaimsRegistry(
            leeway=settings.leeway_s,
            iss={"essential": True, "value": settings.issuer},
            aud={"essential": True, "value": settings.audience},
            exp={"essential": True},
        )
        # Providers put more into the head than the standard names; what is critical there is refused all the same.
        self._registry = JWSRegistry(algorithms=list(settings.algorithms), strict_check_header=False)

    def seen(self, token: bytes) -> Caller | None:
        """The caller of a token that was verified already and has not expired."""
        found = self._remembered.get(token)
        if found is None:
            return None
        if time.time() >= found[1]:
            del self._remembered[token]
            return None
        return found[0]

    async def verify(self, token: bytes) -> Caller:
        """The caller of a token.

        Raises:
            ApiError: 401, it is none, or signed by somebody else, or not for here, or not valid now; 503, no key could
                ever be read.
        """
        if len(token) > self._settings.max_bytes:
            raise _refused(f"the token is longer than {self._settings.max_bytes} bytes")
        header = _header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._settings.algorithms:
            raise _refused(f"tokens are signed by {' or '.join(self._settings.algorithms)} here")
        if kid is not None and not isinstance(kid, str):
            raise _refused("the token's kid is no text")
        keys = await self._jwks.find(kid, algorithm)
        if not keys:
            if not self._jwks.loaded:
                raise ApiError(503, "token_keys_away", "the keys for tokens cannot be read", retry_after_s=5)
            raise _refused("no known key has signed the token")
        claims = self._verified(token, keys)
        caller = self._caller(claims)
        # A comparison, no sum: the claim may be a whole number beyond all floats.
        self._remember(token, caller, min(claims["exp"], time.time() + REMEMBERED_S))
        return caller

    def _verified(self, token: bytes, keys: Sequence[Any]) -> dict[str, Any]:
        failure: Exception = ValueError("no key")
        for key in keys[:MOST_KEYS_TRIED]:
            try:
                found = jwt.decode(token, key, algorithms=list(self._settings.algorithms), registry=self._registry)
                self._claims.validate(found.claims)
            except (JoseError, ValueError, TypeError, RecursionError) as error:
                failure = error
            else:
                return dict(found.claims)
        raise _refused(_words(failure)) from failure

    def _caller(self, claims: dict[str, Any]) -> Caller:
        settings = self._settings
        name = claims.get("sub")
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            raise _refused(f"the token needs a subject (sub) of 1 to {LONGEST_NAME} characters")
        given = claims.get(settings.scopes_claim, "")
        words = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
        listed = tuple(scope for scope in SCOPES if scope in words)
        scopes, user_id = all_scopes(listed), None
        if settings.user_claim is not None and settings.user_claim in claims:
            user = claims[settings.user_claim]
            if isinstance(user, bool) or not isinstance(user, int | str) or user == "":
                raise _refused(f"the token's {settings.user_claim} is no user id")
            user_id, scopes = str(user), scopes & _OF_USERS
            listed = tuple(scope for scope in SCOPES if scope in scopes)
        shown = "".join(letter if letter.isprintable() else "?" for letter in name)
        limit = None
        if settings.per_minute is not None:
            # A prefix that no key's name can have, so that a subject does not count for a key.
            limit = Limit(f"token/{name}", f"the token of {shown}", settings.per_minute, self._count)
        return Caller(f"token {shown}", shown, listed, scopes, limit, user_id)

    def _remember(self, token: bytes, caller: Caller, ends: float) -> None:
        if self._settings.remembered == 0:
            return
        while len(self._remembered) >= self._settings.remembered:
            del self._remembered[next(iter(self._remembered))]  # the one that was verified first
        self._remembered[token] = caller, ends

    def _forget(self) -> None:
        # A key may have been withdrawn, and with it what it signed.
        self._remembered.clear()


def looks_like_token(text: bytes) -> bool:
    """Whether it has the three parts of a token; keys have none."""
    return text.count(b".") == 2


def _header(token: bytes) -> dict[str, Any]:
    part = token.partition(b".")[0]
    try:
        header = orjson.loads(urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    except (ValueError, binascii.Error):
        raise _refused("the token's head cannot be read") from None
    if not isinstance(header, dict):
        raise _refused("the token's head cannot be read")
    return header


def _words(error: Exception) -> str:
    if isinstance(error, BadSignatureError):
        return "the token's signature is wrong"
    if isinstance(error, ExpiredTokenError):
        return "the token has expired"
    if isinstance(error, ClaimError):
        return f"the token is not valid here: {error.description}"
    return "the token cannot be read"


def _refused(message: str) -> ApiError:
    return ApiError(401, "bad_token", message)
