"""Reading events and exposures as they come, from the streams and, where a compaction was quicker, from the log."""

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson

from data.event_log import EventLog
from data.log_tables import KINDS, Kind, stream_id
from features.redis.connection import StoreClient
from features.redis.keys import Keys

Id = tuple[int, int]


@dataclass(frozen=True, slots=True)
class StreamRow:
    """An event or an exposure, as it was logged."""

    at: Id
    kind: Kind
    partition: int
    content: dict[str, Any]

    @property
    def time_ms(self) -> int:
        return self.at[0]


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
    """

    def __init__(self, client: StoreClient, keys: Keys, log: EventLog, since_ms: int, most: int = 150) -> None:
        self._client = client
        self._keys = keys
        self._log = log
        self._most = most
        self._at: dict[tuple[Kind, int], Id] = {
            (kind, partition): (since_ms, 0) for kind in KINDS for partition in range(keys.partitions)
        }
        self._log_state: tuple[int, ...] | None = None
        self.more = False

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
        clock = await self._client.run_on(self._keys.meta, "TIME")
        until_ms = int(clock[0]) * 1000 + int(clock[1]) // 1000
        answers = await self._client.read(commands)
        now_ms = until_ms
        found: dict[tuple[Kind, int], dict[Id, StreamRow]] = {}
        for (kind, partition), entries in zip(streams, answers, strict=True):
            rows = {}
            for entry_id, fields in entries:
                at = stream_id(entry_id.decode())
                if at[0] < until_ms:
                    rows[at] = StreamRow(at, kind, partition, orjson.loads(fields[b"e"]))
            found[kind, partition] = rows
            if len(entries) == self._most:
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
        ordered.sort(key=lambda row: (row.time_ms, row.kind == "exposures", row.partition, row.at))
        self.more = until_ms < now_ms
        return ordered, until_ms

    def skip_to(self, time_ms: int) -> None:
        """Leave out what came before."""
        self._at = {stream: max(at, (time_ms, 0)) for stream, at in self._at.items()}

    def _moved(self) -> dict[tuple[Kind, int], dict[Id, StreamRow]]:
        """Rows of the log that have not been read yet."""
        folders = [self._log.log_dir / kind for kind in KINDS]
        state = tuple(folder.stat().st_mtime_ns if folder.is_dir() else 0 for folder in folders)
        if state == self._log_state:
            return {}
        found: dict[tuple[Kind, int], dict[Id, StreamRow]] = {}
        for kind in KINDS:
            for part in self._log.parts(kind):
                since = self._at[kind, part.partition]
                if part.last <= since or part.bulk:  # imported history never came through a stream
                    continue
                rows = found.setdefault((kind, part.partition), {})
                for row in self._log.part_rows(part, since):
                    rows[row[0]] = StreamRow(row[0], kind, part.partition, row[1])
        self._log_state = state
        return found

    def _key(self, kind: Kind, partition: int) -> str:
        return self._keys.events(partition) if kind == "events" else self._keys.exposures(partition)
