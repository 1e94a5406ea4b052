"""Reading events and exposures as they come, from the streams and, where a compaction was quicker, from the log.

The time here is that of the store's server, by which it numbers its entries. Where that clock is set back, the server
goes on with the last millisecond that it had given, so the numbers still rise, but tell no time any more. Then the
reader's own time goes on from the latest number by this process's monotonic clock: what comes between two calls has the
time of the first of them, and the order in it is that of the replicas' clocks.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import orjson

from data.event_log import EventLog
from data.log_tables import KINDS, Kind, stream_id
from features.redis.connection import StoreClient
from features.redis.keys import Keys

Id = tuple[int, int]
Stream = tuple[Kind, int]
TOLERANCE_MS = 2_000
"""A clock that is less behind than this is waited for."""


@dataclass(frozen=True, slots=True)
class StreamRow:
    """An event or an exposure, as it was logged."""

    at: Id
    kind: Kind
    partition: int
    content: dict[str, Any]
    time_ms: int
    """When it came: as `at` says, or later where the clock that gave it was set back."""
    timed: bool
    """Whether `at` tells the time."""


class StreamReader:
    """Follows all streams from a time on. Where it is lies in memory: whoever starts again says from when.

    A compaction moves entries into the log before it takes them from the stream. So after each look at the streams the
    reader looks for parts of the log that reach beyond what it has read.

    Args:
        client, keys: the online store's.
        log: the offline log.
        since_ms: nothing older is read.
        most: entries of one stream in one call.

    Attributes:
        more: whether the last call left something that was there already.
        now_ms: the reader's time at the last call.
    """

    def __init__(self, client: StoreClient, keys: Keys, log: EventLog, since_ms: int, most: int = 150) -> None:
        self._client = client
        self._keys = keys
        self._log = log
        self._most = most
        self._at: dict[Stream, Id] = {
            (kind, partition): (since_ms, 0) for kind in KINDS for partition in range(keys.partitions)
        }
        self._log_state: tuple[int, ...] | None = None
        self._read_until_ms = 0
        self._server_ms = 0
        self._asked_s = time.monotonic()
        self.more = False
        self.now_ms = 0

    async def read(self) -> tuple[list[StreamRow], int]:
        """What came since the last call, ordered by time, events before exposures of the same millisecond.

        Returns:
            the rows, and the time in ms up to which nothing is missing.

        Raises:
            StoreError, DataError: nothing was read; the next call reads the same.
        """
        streams = list(self._at)
        commands: list[tuple[object, ...]] = []
        for kind, partition in streams:
            time_ms, sequence = self._at[kind, partition]
            commands.append(("XRANGE", self._key(kind, partition), f"({time_ms}-{sequence}", "+", "COUNT", self._most))
        server_ms = await store_ms(self._client, self._keys)
        answers = await self._client.read(commands)
        came = {
            stream: [(stream_id(entry_id.decode()), fields[b"e"]) for entry_id, fields in entries]
            for stream, entries in zip(streams, answers, strict=True)
        }
        set_back = self._follow_clock(server_ms, max((rows[-1][0][0] for rows in came.values() if rows), default=0))
        until_ms = self.now_ms
        found: dict[Stream, dict[Id, StreamRow]] = {}
        for stream, entries in came.items():
            rows = {at: self._row(at, stream, orjson.loads(packed)) for at, packed in entries if at[0] < until_ms}
            found[stream] = rows
            if len(entries) == self._most and not set_back:
                until_ms = min(until_ms, max(rows)[0] if rows else until_ms)
        moved = await asyncio.to_thread(self._moved)
        for stream, rows in moved.items():
            found[stream] = {**rows, **found[stream]}
        if any(row.time_ms >= until_ms for rows in moved.values() for row in rows.values()):
            self._log_state = None  # it is not read to its end, so the next call opens it again
        ordered = [row for rows in found.values() for row in rows.values() if row.time_ms < until_ms]
        for row in ordered:
            stream = (row.kind, row.partition)
            self._at[stream] = max(self._at[stream], row.at)
        ordered.sort(key=lambda row: (row.time_ms, _told_ms(row), row.kind == "exposures", row.partition, row.at))
        self.more = until_ms < self.now_ms or (set_back and any(len(one) == self._most for one in came.values()))
        self._read_until_ms = until_ms
        return ordered, until_ms

    async def skip(self, now_ms: int) -> None:
        """Leave out all that is there by now.

        Args:
            now_ms: the reader's time from now on, at least.
        """
        newest = await newest_ids(self._client, self._keys, self._log)
        for stream, at in newest.items():
            self._at[stream] = max(self._at[stream], at)
        self.now_ms = self._read_until_ms = max(self.now_ms, now_ms, *(at[0] + 1 for at in newest.values()))
        self._asked_s = time.monotonic()

    def _follow_clock(self, server_ms: int, newest_ms: int) -> bool:
        """Move the reader's time to that of the server. Returns whether the server's is behind, which moves it not."""
        self._server_ms, asked_s = server_ms, time.monotonic()
        elapsed_ms, self._asked_s = int((asked_s - self._asked_s) * 1000), asked_s
        set_back = max(self.now_ms, newest_ms) - server_ms > TOLERANCE_MS
        self.now_ms = max(self.now_ms + elapsed_ms, newest_ms + 1) if set_back else server_ms
        return set_back

    def _row(self, at: Id, stream: Stream, content: dict[str, Any]) -> StreamRow:
        timed = self._read_until_ms <= at[0] <= self._server_ms + TOLERANCE_MS
        return StreamRow(at, *stream, content, max(at[0], self._read_until_ms), timed)

    def _moved(self) -> dict[Stream, dict[Id, StreamRow]]:
        """Rows of the log that have not been read yet."""
        folders = [self._log.log_dir / kind for kind in KINDS]
        state = tuple(folder.stat().st_mtime_ns if folder.is_dir() else 0 for folder in folders)
        if state == self._log_state:
            return {}
        found: dict[Stream, dict[Id, StreamRow]] = {}
        for kind in KINDS:
            for part in self._log.parts(kind):
                since = self._at[kind, part.partition]
                if part.last <= since or part.bulk:  # imported history never came through a stream
                    continue
                rows = found.setdefault((kind, part.partition), {})
                for row in self._log.part_rows(part, since):
                    rows[row[0]] = self._row(row[0], (kind, part.partition), row[1])
        self._log_state = state
        return found

    def _key(self, kind: Kind, partition: int) -> str:
        return _stream_key(self._keys, (kind, partition))


async def store_ms(client: StoreClient, keys: Keys) -> int:
    """The time of the store's server in ms. Raises `StoreError`."""
    seconds, micros = await client.run_on(keys.meta, "TIME")
    return int(seconds) * 1000 + int(micros) // 1000


async def newest_ids(client: StoreClient, keys: Keys, log: EventLog) -> dict[Stream, Id]:
    """The number of the latest entry of each stream, which may be in the log by now; (0, 0) where there was none.

    Raises:
        StoreError, DataError: the store or the log cannot be read.
    """
    streams: list[Stream] = [(kind, partition) for kind in KINDS for partition in range(keys.partitions)]
    answers = await client.read([("XREVRANGE", _stream_key(keys, one), "+", "-", "COUNT", 1) for one in streams])
    found = {
        stream: stream_id(entries[0][0].decode()) if entries else (0, 0)
        for stream, entries in zip(streams, answers, strict=True)
    }
    for kind in KINDS:
        for part in await asyncio.to_thread(log.parts, kind):
            if not part.bulk:  # imported history never came through a stream
                found[kind, part.partition] = max(found[kind, part.partition], part.last)
    return found


def _told_ms(row: StreamRow) -> int:
    """What the replica's clock said where the store's tells no time; 0 where it does."""
    if row.timed:
        return 0
    told: int = row.content["received_ms"] if row.kind == "events" else row.content["time_ms"]
    return told


def _stream_key(keys: Keys, stream: Stream) -> str:
    kind, partition = stream
    return keys.events(partition) if kind == "events" else keys.exposures(partition)
