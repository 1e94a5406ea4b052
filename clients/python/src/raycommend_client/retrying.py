"""When a call is sent again, and how long to wait before."""

import random
import time
from dataclasses import dataclass

from raycommend_client.errors import ApiError, RateLimited, RaycommendError, ServerError, Unavailable, Unreachable


@dataclass(frozen=True)
class Retry:
    """How calls are repeated.

    Attributes:
        attempts: how often a call is sent at most; 1 never repeats.
        total_s: a call with all its attempts and waits takes no longer, up to the time-out of its last attempt. Where
            the server asks for a longer wait than is left, the error comes at once and says for how long.
        first_wait_s: wait after the first attempt where the server names none; it doubles with each further one.
        longest_wait_s: what it doubles to.
    """

    attempts: int = 4
    total_s: float = 30.0
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"retry.attempts: should be 1 or more, not {self.attempts}")
        for name in ("total_s", "first_wait_s", "longest_wait_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"retry.{name}: should be more than 0, not {getattr(self, name)}")

    def backoff_s(self, attempt: int) -> float:
        """The wait after the n-th attempt, from 1. Half of it is drawn by chance: clients that failed together should
        not come back together."""
        wait_s = min(self.first_wait_s * 2.0 ** min(attempt - 1, 30), self.longest_wait_s)
        return wait_s * random.uniform(0.5, 1)  # noqa: S311 - no secret


class Attempts:
    """The attempts of one call. Its clock starts with it."""

    def __init__(self, retry: Retry, repeatable: bool, may_renew_token: bool) -> None:
        self._retry, self._repeatable, self._may_renew_token = retry, repeatable, may_renew_token
        self._made = 0
        self._ends_s = time.monotonic() + retry.total_s

    def timeout_s(self, wanted_s: float) -> float:
        """The time-out of the next attempt."""
        return max(min(wanted_s, self._ends_s - time.monotonic()), 0.001)

    def wait_s(self, error: RaycommendError) -> float:
        """How long to wait before the next attempt. Raises `error` where there is none."""
        self._made += 1
        if isinstance(error, ApiError | Unreachable):
            error.attempts = self._made
        if self._made >= self._retry.attempts or not self._may_repeat(error):
            raise error
        told_s = error.retry_after_s if isinstance(error, ApiError) else None
        wait_s = self._retry.backoff_s(self._made) if told_s is None else told_s
        if time.monotonic() + wait_s >= self._ends_s:
            raise error
        return wait_s

    def _may_repeat(self, error: RaycommendError) -> bool:
        if isinstance(error, ApiError) and error.status == 401 and self._may_renew_token:
            self._may_renew_token = False  # a token may have ended on the way; one that is new and refused stays so
            return True
        if isinstance(error, RateLimited):
            return True
        if isinstance(error, Unavailable):
            return self._repeatable or (error.status == 503 and error.retry_after_s is not None)
        if isinstance(error, Unreachable):
            return self._repeatable or error.never_sent
        return isinstance(error, ServerError) and self._repeatable
