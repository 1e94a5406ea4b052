"""How many of the latest events count where of one user only so many do: one robot's must not call for a training."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable

import orjson

from data.event_log import EventLog
from data.log_tables import is_simulated
from features.redis.connection import StoreClient
from features.redis.keys import Keys

PAGE = 1000
MOST_READ = 200_000
"""Events, the latest ones, that are looked at; so one robot's millions cost no more."""
REST_S = 30.0
"""After this the count is made again where more events have come."""


class NewEvents:
    """Counts the latest events in the streams and in the log, those of each user up to a bound.

    Args:
        client, keys: the online store, in whose streams the latest events wait.
        log: the offline log, which has those before them.
        enough: nobody needs to know how many there are beyond so many.
        of_one_user: how many of one user count.
        with_simulated: whether simulated events count.
    """

    def __init__(
        self, client: StoreClient, keys: Keys, log: EventLog, enough: int, of_one_user: int, with_simulated: bool
    ) -> None:
        self._client, self._keys, self._log = client, keys, log
        self._enough, self._of_one_user = enough, of_one_user
        self._with_simulated = with_simulated
        self._found: tuple[int, int, float] | None = None  # events, what they count for, moment of the monotonic clock

    async def count(self, events: int) -> int:
        """What the latest `events` events count for; anything above `enough` where they count for more than that. It
        may be half a minute old where it is not enough, or a robot fills the streams.

        Raises:
            StoreError, DataError: the streams or the log cannot be read.
        """
        if self._found is not None:
            before, counted, counted_s = self._found
            hopeless = counted + events - before <= self._enough or before > self._enough
            if before == events or (before < events and hopeless and time.monotonic() - counted_s < REST_S):
                return counted
        counted = await self._count(events)
        self._found = events, counted, time.monotonic()
        return counted

    async def _count(self, events: int) -> int:
        users: Counter[str] = Counter()
        read = found = counted = 0
        for partition in range(self._keys.partitions):
            end = "+"
            while found < events and read < MOST_READ:
                command = ("XREVRANGE", self._keys.events(partition), end, "-", "COUNT", PAGE)
                entries = await self._client.run(*command)
                rows = [orjson.loads(fields[b"e"]) for _, fields in entries]
                mine = [row["user_id"] for row in rows if self._with_simulated or not is_simulated(row["context"])]
                read += len(rows)
                found += len(mine)
                counted += self._add(users, mine)
                if counted > self._enough:
                    return counted
                if len(entries) < PAGE:
                    break
                end = f"({entries[-1][0].decode()}"
        rest = min(events - found, MOST_READ - read)
        return counted + await asyncio.to_thread(self._count_logged, users, rest, counted)

    def _count_logged(self, users: Counter[str], rows: int, counted: int) -> int:
        """What the latest `rows` events of the log add, beside what `users` have counted for already."""
        added = 0
        for part in sorted(self._log.parts("events"), key=lambda part: part.last, reverse=True):
            if rows <= 0 or counted + added > self._enough:
                break
            mine = self._log.part_users(part, self._with_simulated)[-rows:]
            rows -= len(mine)
            added += self._add(users, mine)
        return added

    def _add(self, users: Counter[str], more: Iterable[str]) -> int:
        added = 0
        for user_id in more:
            if users[user_id] < self._of_one_user:
                users[user_id] += 1
                added += 1
        return added
