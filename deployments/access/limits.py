"""How often a caller may ask: counted by the minute, over all replicas, in the store.

A request counts one when it comes, before its body is read. A batch of events counts the rest once its events have been
told apart, before any is recorded: so the body is decoded once, and no more is recorded than the limit allows.
"""

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deployments.http.errors import ApiError, invalid_field
from features.redis.connection import StoreClient
from features.redis.errors import StoreError, StoreUnavailable
from features.redis.keys import Keys

WINDOW_S = 60
COUNT_S = 0.25
"""How long a request may wait to be counted."""
REST_S = 1.0
"""How long nothing is counted after the store was silent."""
Count = Callable[[str, int], Awaitable[int]]
"""Adds to what a name has asked within this minute, and answers how much that is."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How much a caller may ask within a minute.

    An error of the store lets the request pass: whoever has a key is worth more than an exact limit.

    Attributes:
        name: under which it is counted.
        shown: how errors name the caller.
        per_minute: requests; a batch is as many as it has events.
        count: see `counter`.
    """

    name: str
    shown: str
    per_minute: int
    count: Count

    async def take(self) -> None:
        """Count one request. Raises ApiError 429."""
        if await self._counted(1) > self.per_minute:
            raise self._reached()

    async def take_batch(self, events: int) -> None:
        """Count the events of a batch whose request is counted already.

        Raises:
            ApiError: 429, where the rest of this minute is too little: nothing of the batch counts then; 422 where no
                minute would be enough.
        """
        if events > self.per_minute:
            raise invalid_field(
                f"events: {self.shown} may send {self.per_minute} events a minute, so a batch may hold no more; it "
                f"holds {events}",
                "events",
            )
        if events > 1 and await self._counted(events - 1) > self.per_minute:
            await self._counted(-events)
            raise self._reached()

    async def _counted(self, number: int) -> int:
        try:
            return await self.count(self.name, number)
        except StoreError:
            return 0

    def _reached(self) -> ApiError:
        wait_s = math.ceil(WINDOW_S - time.time() % WINDOW_S)
        message = f"{self.shown} may make {self.per_minute} requests a minute; each event of a batch counts as one"
        return ApiError(429, "rate_limited", message, retry_after_s=wait_s)


def counter(client: StoreClient, keys: Keys, most_waiting: int) -> Count:
    """A function that counts requests in the present minute, over all replicas, in the store.

    A store that is silent is left alone for a while, so that only the requests of one moment wait for it, and of these
    no more than `most_waiting`: they wait in front of the application, where nothing else bounds them.

    Args:
        client: with a short timeout: whoever waits here has the deadline of the request still ahead.
    """
    asked_again_s, waiting = 0.0, 0

    async def count(name: str, number: int) -> int:
        nonlocal asked_again_s, waiting
        if time.monotonic() < asked_again_s:
            raise StoreUnavailable("the online store was silent a moment ago")
        if waiting >= most_waiting:
            raise ApiError(503, "overloaded", f"{waiting} requests are waiting already", retry_after_s=1)
        waiting += 1
        key = keys.rate(name, int(time.time() // WINDOW_S))
        try:
            made, _ = await client.exchange([("INCRBY", key, number), ("EXPIRE", key, 2 * WINDOW_S)])
        except StoreUnavailable:
            asked_again_s = time.monotonic() + REST_S
            raise
        finally:
            waiting -= 1
        if isinstance(made, BaseException):
            raise StoreError(f"the online store refused to count: {made}")
        return int(made)

    return count
