"""How often a caller may ask: counted by the minute, over all replicas, in the store.

A request counts one when it comes, before its body is read. A batch of events counts the rest once its events have been
told apart, before any is recorded: so the body is decoded once, and no more is recorded than the limit allows.
"""

import math
import time
from collections.abc import Awaitable, Callable

from deployments.http.errors import ApiError, invalid_field
from features.redis.connection import StoreClient
from features.redis.errors import StoreError, StoreUnavailable
from features.redis.keys import Keys

WINDOW_S = 60
COUNT_S = 0.25
"""How long a request may wait to be counted."""
REST_S = 1.0
"""How long nothing is counted after the store was silent."""
SHARES = 100
"""Into how many parts a limit is dealt to replicas. One below 100 is dealt one by one, and so exactly."""
Count = Callable[[str, int], Awaitable[int]]
"""Adds to what a name has asked within this minute, and answers how much that is."""


class Limit:
    """How much a caller may ask within a minute.

    A replica takes a hundredth of the limit at a time from what the store counts, and serves from that, so that a busy
    key costs no question to the store for each request. What one replica has taken and not used by the end of the
    minute, the others miss; no more than the limit ever passes.

    An error of the store lets the request pass: whoever has a key is worth more than an exact limit.

    Args:
        name: under which it is counted.
        shown: how errors name the caller.
        per_minute: requests; a batch is as many as it has events.
        count: see `counter`.
    """

    def __init__(self, name: str, shown: str, per_minute: int, count: Count) -> None:
        self._name = name
        self._shown = shown
        self._per_minute = per_minute
        self._count = count
        self._at_once = max(1, per_minute // SHARES)
        self._begins = self._ends = 0.0  # of the minute that counts
        self._left = 0
        self._reached = False

    def spend(self) -> bool:
        """Count one request on what was taken already; False where nothing of it is left."""
        if not self._begins <= time.time() < self._ends:
            self._turn()
        if self._left:
            self._left -= 1
            return True
        return False

    async def take(self) -> None:
        """Count one request. Raises ApiError 429."""
        if self.spend():
            return
        if self._reached:
            raise self._refusal()
        made = await self._counted(self._at_once)
        if made is None:
            return
        granted = min(self._at_once, self._per_minute - (made - self._at_once))
        if granted <= 0:
            self._reached = True
            raise self._refusal()
        self._left += granted - 1

    async def take_batch(self, events: int) -> None:
        """Count the events of a batch whose request is counted already.

        Raises:
            ApiError: 429, where the rest of this minute is too little: nothing of the batch counts then; 422 where no
                minute would be enough.
        """
        if events > self._per_minute:
            raise invalid_field(
                f"events: {self._shown} may send {self._per_minute} events a minute, so a batch may hold no more; it "
                f"holds {events}",
                "events",
            )
        self._turn()
        own = min(self._left, events - 1)
        self._left -= own
        more = events - 1 - own
        if more == 0:
            return
        made = await self._counted(more)
        if made is not None and made > self._per_minute:
            await self._counted(-more)
            self._left += own + 1
            raise self._refusal()

    def _turn(self) -> None:
        now = time.time()
        if not self._begins <= now < self._ends:  # also where the clock was set back
            self._begins = now // WINDOW_S * WINDOW_S
            self._ends = self._begins + WINDOW_S
            self._left, self._reached = 0, False

    async def _counted(self, number: int) -> int | None:
        """What was asked within this minute, with this; None where the store cannot count."""
        try:
            return await self._count(self._name, number)
        except StoreError:
            return None

    def _refusal(self) -> ApiError:
        wait_s = math.ceil(WINDOW_S - time.time() % WINDOW_S)
        message = f"{self._shown} may make {self._per_minute} requests a minute; each event of a batch counts as one"
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
