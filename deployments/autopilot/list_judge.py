"""Follows the streams of lists and events: judges lists, keeps the sums in the store, and the latest in memory."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from configs.event_types import EventTypes
from data.event_log import EventLog
from data.log_tables import is_simulated
from features.items.catalogue import Catalogue
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.streams.stream_reader import TOLERANCE_MS, StreamReader, StreamRow, newest_ids, store_ms
from features.telemetry.quality_sums import VersionDay, read_left_out, read_watermark, record_quality
from models.monitoring.bias import BiasModel
from models.monitoring.live_quality import LISTS_A_DAY, MILLION, JudgedList, LiveQuality, Shown, add_up, day_of
from models.monitoring.per_user import LatestOfUsers, UserLimit

BEHIND_MS = 60_000
LOOK_S = 5.0
KEPT = 20_000
OF_ONE_USER = 10
"""Lists, and events, of one user in a window unless it is said otherwise."""
LONG_AGO_MS = 3_600_000
PAGE = 1000


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """What drift looks at in an event."""

    user_id: str
    item_id: str
    event_type: str
    categories: tuple[str, ...]
    delay_s: float | None
    """From the request to the user's features; None where the store's clock cannot tell."""


@dataclass
class _Read:
    """What one reading of the streams brought beside lists: counted once the store has it."""

    events: list[LiveEvent] = field(default_factory=list)
    ratings: dict[VersionDay, dict[str, int]] = field(default_factory=dict)
    left_out: Counter[int] = field(default_factory=Counter)


class ListJudge:
    """Judges the lists that were shown. A new process goes on where the store says that judging stopped.

    Args:
        client, keys: the online store: its streams, and the sums of live quality.
        log: the offline log, for what was moved there meanwhile.
        types: which events take an item up.
        catalogue: the categories of items.
        window_s: how long a list waits for an answer.
        with_simulated: whether simulated lists and events count; they do where training learns from them.
        of_one_user: so many of a user's latest lists, and events, are kept in `judged` and `events`.
    """

    def __init__(
        self,
        client: StoreClient,
        keys: Keys,
        log: EventLog,
        types: EventTypes,
        catalogue: Catalogue,
        window_s: float,
        with_simulated: bool = False,
        of_one_user: int = OF_ONE_USER,
    ) -> None:
        self._client = client
        self._keys = keys
        self._log = log
        self._types = types
        self._catalogue = catalogue
        self._window_ms = int(window_s * 1000)
        self._takes_up = lru_cache(maxsize=4096)(self._is_no_refusal)
        self._open = LiveQuality(self._window_ms)
        self._reader: StreamReader | None = None
        self._watermark: int | None = None
        self._with_simulated = with_simulated
        self._since_ms = 0  # events from then on are new
        self._left_out: Counter[int] = Counter()  # second -> simulated events of it
        self._carried: Counter[int] = Counter()  # those that the store does not know of yet
        self._oldest_s = 0  # nothing older waits in the streams
        self._forgotten_s = 0  # what is older the store has forgotten
        self.champion: str | None = None
        self.bias: BiasModel | None = None
        self.judged: LatestOfUsers[JudgedList] = LatestOfUsers(of_one_user, KEPT, lambda one: one.user_id)
        self.events: LatestOfUsers[LiveEvent] = LatestOfUsers(of_one_user, KEPT, lambda one: one.user_id)
        self._ratings = UserLimit(LISTS_A_DAY)
        self.skipped = 0
        self.caught_up = False

    async def look(self) -> None:
        """Read what came, judge what has closed, add it up in the store, until nothing is left or time is up.

        Raises:
            StoreError, DataError: store or log cannot be read or written; the next look starts from what the store has.
        """
        deadline, more = time.monotonic() + LOOK_S, True
        try:
            self.caught_up = False
            while more and time.monotonic() < deadline:
                more = await self._step()
            self.caught_up = not more
        except BaseException:
            # What was read and closed here may or may not be in the store: its watermark tells.
            self._reader = None
            raise

    async def _step(self) -> bool:
        """Read the streams once. Returns whether there is more."""
        if self._reader is None:
            await self._begin()
        reader = self._reader
        assert reader is not None
        rows, until_ms = await reader.read()
        read = _Read()
        for row in rows:
            self._follow(row, read)
        read.left_out.update(self._carried)
        judged = self._open.close(until_ms)
        # Lists that closed before the watermark were judged by a look before this one, or by another process.
        fresh = [one for one in judged if one.shown_ms + self._window_ms >= (self._watermark or 0)]
        if until_ms <= (self._watermark or 0):
            return reader.more
        if not await self._record(fresh, read, until_ms):
            self._reader = None  # Another process judges too: go on from where the store is.
            return False
        self._watermark, self._forgotten_s = until_ms, self._oldest_s
        # Only now, when the store has them: what it refused is read again, and must not stand here twice.
        self._carried.clear()
        self._left_out.update(read.left_out)
        self.events.extend(read.events)
        self.judged.extend(fresh)
        if reader.now_ms - until_ms > BEHIND_MS:
            # More comes than can be followed: these lists are skipped and counted, since later ones matter more.
            self.skipped += self._open.forget()
            await reader.skip(reader.now_ms)
            self._since_ms = reader.now_ms
            self._carried.update(await self._simulated_between(until_ms, self._since_ms))
            return False
        return reader.more

    async def _record(self, fresh: list[JudgedList], read: _Read, until_ms: int) -> bool:
        """Add to the store's sums. False when another process was quicker. Raises `StoreError`."""
        sums = add_up(fresh, self._categories(fresh))
        for day, amounts in read.ratings.items():
            sums.setdefault(day, {}).update(amounts)
        shown: dict[VersionDay, set[str]] = {}
        for one in fresh:
            shown.setdefault((one.model_version or "none", day_of(one.shown_ms)), set()).update(one.item_ids)
        return await record_quality(
            self._client,
            self._keys,
            self._watermark,
            until_ms,
            sums,
            shown,
            read.left_out,
            self._oldest_s if self._oldest_s > self._forgotten_s else 0,
        )

    def left_out_since(self, time_ms: int) -> int:
        """How many simulated events that were left out came in the second of `time_ms` or later.

        Earlier ones are forgotten: nothing that old waits in the streams any more.
        """
        self._oldest_s = time_ms // 1000
        for second in [second for second in self._left_out if second < self._oldest_s]:
            del self._left_out[second]
        return sum(self._left_out.values())

    async def _begin(self) -> None:
        watermark = await read_watermark(self._client, self._keys)
        left_out = await read_left_out(self._client, self._keys)
        now_ms = await store_ms(self._client, self._keys)
        newest_ms = max(at[0] for at in (await newest_ids(self._client, self._keys, self._log)).values())
        self._watermark = watermark
        self._left_out = Counter({} if self._with_simulated else left_out or {})
        self._open = LiveQuality(self._window_ms)
        if max(watermark or 0, newest_ms) - now_ms > TOLERANCE_MS:
            # The store's clock was set back, so its numbers do not tell what was open: judging begins with what comes.
            self._reader = StreamReader(self._client, self._keys, self._log, 0)
            await self._reader.skip(max(watermark or 0, newest_ms) + 1)
            self._since_ms = self._reader.now_ms
            self._carried = await self._simulated_between(now_ms, newest_ms + 1)
            self._carried.subtract(self._left_out)
            self._carried = +self._carried
            return
        since = now_ms if watermark is None else max(watermark, now_ms - 10 * BEHIND_MS)
        # While nobody looked, simulated events may have come too; they need no judging, but must not count as real.
        unseen_from = 0 if left_out is None or watermark is None else watermark
        self._carried = await self._simulated_between(unseen_from, since)
        self._since_ms = since
        # Lists that were open at the watermark began within the window before it.
        self._reader = StreamReader(self._client, self._keys, self._log, since - self._window_ms - 1)

    async def _simulated_between(self, first_ms: int, end_ms: int) -> Counter[int]:
        """second -> simulated events of it in the streams, from `first_ms` to before `end_ms`."""
        found: Counter[int] = Counter()
        if self._with_simulated or first_ms >= end_ms:
            return found
        for partition in range(self._keys.partitions):
            at = str(first_ms)
            while True:
                command = ("XRANGE", self._keys.events(partition), at, end_ms - 1, "COUNT", PAGE)
                entries = await self._client.run(*command)
                for entry_id, fields in entries:
                    if _simulated(orjson.loads(fields[b"e"])):
                        found[int(entry_id.partition(b"-")[0]) // 1000] += 1
                if len(entries) < PAGE:
                    break
                at = f"({entries[-1][0].decode()}"
        return found

    def _follow(self, row: StreamRow, read: _Read) -> None:
        content = row.content
        if not self._with_simulated and _simulated(content):
            if row.kind == "events" and row.time_ms >= self._since_ms:
                read.left_out[row.at[0] // 1000] += 1
            return
        if row.kind == "exposures":
            self._open.show(
                Shown(
                    content["recommendation_id"],
                    content["user_id"],
                    row.time_ms,
                    content["model_version"],
                    tuple(content["item_ids"]),
                    forced=bool(content.get("forced")),
                )
            )
            return
        late_ms = content["received_ms"] - content["timestamp_ms"]
        if content["event_type"] not in self._types.by_name or late_ms > LONG_AGO_MS:
            return  # An event that tells of long ago is neither an answer to a list nor what users do now.
        if self._takes_up(content["event_type"], content["value"]):
            self._open.take_up(content["user_id"], content["item_id"], row.time_ms, content["recommendation_id"])
        if row.time_ms < self._since_ms:
            return  # These events are read again only for lists that are still open.
        read.events.append(
            LiveEvent(
                content["user_id"],
                content["item_id"],
                content["event_type"],
                tuple(content["categories"] or ()),
                max(0.0, (row.time_ms - content["received_ms"]) / 1000) if row.timed else None,
            )
        )
        if content["event_type"] == "rating" and content["value"] is not None and self.bias and self.champion:
            version_day = (self.champion, day_of(row.time_ms))
            if self._ratings.admits(content["user_id"], version_day):
                expected = self.bias.predict(content["user_id"], content["item_id"])
                sums = read.ratings.setdefault(version_day, {"ratings": 0, "squared_error": 0})
                sums["ratings"] += 1
                sums["squared_error"] += round((content["value"] - expected) ** 2 * MILLION)

    def _is_no_refusal(self, event_type: str, value: float | None) -> bool:
        codes = np.array([self._types[event_type].code], np.uint8)
        values = np.array([np.nan if value is None else value])
        return event_type != "search" and not bool(self._types.is_refusal(codes, values)[0])

    def _categories(self, judged: list[JudgedList]) -> Mapping[str, tuple[str, ...]]:
        items = self._catalogue.items
        wanted = {item_id for one in judged for item_id in one.item_ids}
        return {item_id: tuple(items[item_id].categories) for item_id in wanted if item_id in items}


def _simulated(content: Mapping[str, Any]) -> bool:
    """Whether an entry of a stream, or a row of the log, is marked as simulated."""
    marked = content.get("simulated")
    return bool(marked) if marked is not None else is_simulated(content["context"])
