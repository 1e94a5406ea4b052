"""Follows the streams of lists and events: judges lists, keeps the sums in the store, and the latest in memory."""

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from configs import clock
from configs.event_types import EventTypes
from data.event_log import EventLog
from data.log_tables import is_simulated
from features.items.catalogue import Catalogue
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.streams.stream_reader import StreamReader, StreamRow
from features.telemetry.quality_sums import VersionDay, read_watermark, record_quality
from models.monitoring.bias import BiasModel
from models.monitoring.live_quality import MILLION, JudgedList, LiveQuality, Shown, add_up, day_of

BEHIND_MS = 60_000
LOOK_S = 5.0
KEPT = 20_000
LONG_AGO_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """What drift looks at in an event."""

    user_id: str
    item_id: str
    event_type: str
    categories: tuple[str, ...]
    delay_s: float
    """From the request to the user's features."""


class ListJudge:
    """Judges the lists that were shown. A new process goes on where the store says that judging stopped.

    Args:
        client, keys: the online store: its streams, and the sums of live quality.
        log: the offline log, for what was moved there meanwhile.
        types: which events take an item up.
        catalogue: the categories of items.
        window_s: how long a list waits for an answer.
        with_simulated: whether simulated lists and events count; they do where training learns from them.
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
        self._left_out: deque[int] = deque(maxlen=1_000_000)
        self.champion: str | None = None
        self.bias: BiasModel | None = None
        self.judged: deque[JudgedList] = deque(maxlen=KEPT)
        self.events: deque[LiveEvent] = deque(maxlen=KEPT)
        self.seen_lists = 0
        self.seen_events = 0
        self.skipped = 0

    async def look(self) -> None:
        """Read what came, judge what has closed, add it up in the store, until nothing is left or time is up.

        Raises:
            StoreError, DataError: store or log cannot be read; the next look goes on.
        """
        deadline, more = time.monotonic() + LOOK_S, True
        while more and time.monotonic() < deadline:
            more = await self._step()

    async def _step(self) -> bool:
        """Read the streams once. Returns whether there is more."""
        if self._reader is None:
            await self._begin()
        reader = self._reader
        assert reader is not None
        rows, until_ms = await reader.read()
        ratings: dict[VersionDay, dict[str, int]] = {}
        for row in rows:
            self._follow(row, ratings)
        judged = self._open.close(until_ms)
        # Lists that closed before the watermark were judged by a look before this one, or by another process.
        fresh = [one for one in judged if one.shown_ms + self._window_ms >= (self._watermark or 0)]
        sums = add_up(fresh, self._categories(fresh))
        for day, amounts in ratings.items():
            sums.setdefault(day, {}).update(amounts)
        shown: dict[VersionDay, set[str]] = {}
        for one in fresh:
            shown.setdefault((one.model_version or "none", day_of(one.shown_ms)), set()).update(one.item_ids)
        if until_ms > (self._watermark or 0):
            if not await record_quality(self._client, self._keys, self._watermark, until_ms, sums, shown):
                self._reader = None  # Another process judges too: go on from where the store is.
                return False
            self._watermark = until_ms
        self.judged.extend(fresh)
        self.seen_lists += len(fresh)
        if time.time() * 1000 - until_ms > BEHIND_MS:
            # More comes than can be followed: these lists are skipped and counted, since later ones matter more.
            self.skipped += self._open.forget()
            reader.skip_to(clock.now_ms())
            return False
        return reader.more

    def left_out_since(self, time_ms: int) -> int:
        """How many simulated events from `ms` on were left out."""
        return len(self._left_out) - bisect_left(self._left_out, time_ms)

    async def _begin(self) -> None:
        self._watermark = await read_watermark(self._client, self._keys)
        now_ms = clock.now_ms()
        since = now_ms if self._watermark is None else max(self._watermark, now_ms - 10 * BEHIND_MS)
        self._open = LiveQuality(self._window_ms)
        # Lists that were open at the watermark began within the window before it.
        self._reader = StreamReader(self._client, self._keys, self._log, since - self._window_ms - 1)

    def _follow(self, row: StreamRow, ratings: dict[VersionDay, dict[str, int]]) -> None:
        content = row.content
        if not self._with_simulated and _simulated(content):
            if row.kind == "events":
                self._left_out.append(row.time_ms)
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
        if row.time_ms < (self._watermark or 0):
            return  # These events are read again only for lists that are still open.
        self.events.append(
            LiveEvent(
                content["user_id"],
                content["item_id"],
                content["event_type"],
                tuple(content["categories"] or ()),
                max(0.0, (row.time_ms - content["received_ms"]) / 1000),
            )
        )
        self.seen_events += 1
        if content["event_type"] == "rating" and content["value"] is not None and self.bias and self.champion:
            expected = self.bias.predict(content["user_id"], content["item_id"])
            sums = ratings.setdefault((self.champion, day_of(row.time_ms)), {"ratings": 0, "squared_error": 0})
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
