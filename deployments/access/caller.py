"""Who makes a request: an API key or a token, what it opens, and for whom it may ask."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from deployments.access.limits import Limit
from deployments.access.scopes import SCOPES
from deployments.http.errors import ApiError

CALLER = "raycommend.caller"
"""Where the ASGI scope holds the `Caller`, where callers say who they are."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request. Made once for each key or token, not for each request.

    Attributes:
        shown: for logs and the timeline: `key NAME` or `token SUBJECT`.
        name: the key's name or the token's subject.
        listed: the scopes as they were given.
        scopes: those, and for an admin all.
        limit: how often it may ask; None for no limit.
        user_id: the only user for whom it may ask; None for all.
    """

    shown: str
    name: str
    listed: tuple[str, ...]
    scopes: frozenset[str]
    limit: Limit | None = None
    user_id: str | None = None

    def __str__(self) -> str:
        return self.shown


CURRENT: ContextVar[Caller | None] = ContextVar("caller", default=None)
"""The caller of the request at hand, for what only its body tells: users, and the number of events."""


def all_scopes(listed: Sequence[str]) -> frozenset[str]:
    """What scopes open: `admin` opens all."""
    return frozenset(SCOPES if "admin" in listed else listed)


def only_own(user_id: int | str, caller: Caller | None, field: str = "user_id") -> None:
    """Raises ApiError 403 where the caller may ask for another user alone."""
    if caller is not None and caller.user_id is not None and str(user_id) != caller.user_id:
        raise ApiError(403, "another_user", "this token may ask for its own user alone", field)
