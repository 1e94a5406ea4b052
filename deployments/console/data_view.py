"""What is known of the data: the imported data set, what imports refused, what has come since, the newest events."""

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel, Field, ValidationError

from configs.settings import Settings
from data.dataset import META, DatasetMeta, processed_dir
from data.event_log import EventLog
from data.log_tables import stream_id
from deployments.catalogue.typed_ids import IdTypes
from deployments.console.import_records import MOST_IMPORTS, ImportView, latest_imports
from deployments.http.schemas import iso_time
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.streams.backlog import read_backlog

MAP = "map.yaml"
MAP_BYTES = 64_000


class WaitingView(BaseModel):
    """Streams of the store whose entries wait to be moved into the log."""

    pending: int
    lag_s: float = Field(description="age of the oldest entry; 0 where there is none")
    longest: int = Field(description="entries of the partition that has most")
    used_bytes: int


class LogView(BaseModel):
    """The offline log of events."""

    parts: int
    used_bytes: int
    last_compaction: str | None = Field(description="when a part was last written; null where there is none")


class DataView(BaseModel):
    """The data, as at this moment."""

    data_set: DatasetMeta | None = Field(description="what was imported; null where nothing was")
    problem: str | None = Field(description="why the data set cannot be told, in words")
    mapping: dict[str, Any] | None = Field(description="from columns to meanings, as kept beside the data set")
    event_types: dict[str, int] = Field(description="events of the data set by type, the most frequent first")
    preset: str = Field(description="the preset of event meanings in use")
    imports: list[ImportView] = Field(description=f"files imported later, the latest first, at most {MOST_IMPORTS}")
    events: int = Field(description="events behind the features: of the data set and since")
    last_event: str | None = Field(description="the newest time that an event carries")
    last_arrival: str | None = Field(description="when an event last came in")
    streams: dict[str, WaitingView]
    log: LogView


class RecentEvent(BaseModel):
    """An event of the streams."""

    stream_id: str
    received: str
    user_id: int | str
    item_id: int | str
    title: str = Field(description="the item's id where nobody has described it")
    event_type: str
    value: float | None
    time: str = Field(description="when it happened")
    simulated: bool


class RecentEvents(BaseModel):
    events: list[RecentEvent] = Field(description="the newest first, by when they came in")


class DataState:
    """Answers for the data.

    Args:
        settings: where data set, log and imports lie.
        client, keys: the online store.
        ids: types the ids of answers.
        title: gives the title of an item.
    """

    def __init__(
        self,
        settings: Settings,
        client: StoreClient,
        keys: Keys,
        ids: IdTypes,
        title: Callable[[str], str],
    ) -> None:
        self._settings = settings
        self._client = client
        self._keys = keys
        self._ids, self._title = ids, title
        self._log = EventLog(settings.log_dir)
        self._counting = asyncio.Lock()
        self._counted: tuple[str, dict[str, int]] = ("", {})

    async def view(self) -> DataView:
        """What is known of the data. Raises `StoreError`; a data set that cannot be read is told of in `problem`."""
        totals = [("HMGET", self._keys.totals(number), "events", "last_ms") for number in range(self._keys.partitions)]
        newest = [
            ("XREVRANGE", self._keys.events(number), "+", "-", "COUNT", 1) for number in range(self._keys.partitions)
        ]
        found = await self._client.read([*totals, *newest])
        counts, latest = found[: self._keys.partitions], found[self._keys.partitions :]
        backlog = await read_backlog(self._client, self._keys)
        folder = processed_dir(self._settings)
        data_set, problem = await asyncio.to_thread(_data_set, folder)
        log, logged_ms = await asyncio.to_thread(_log, self._log)
        arrivals = [stream_id(entries[0][0].decode())[0] for entries in latest if entries]
        times = [int(last_ms) for _, last_ms in counts if last_ms is not None]
        return DataView(
            data_set=data_set,
            problem=problem,
            mapping=await asyncio.to_thread(_mapping, folder),
            event_types={} if data_set is None else await self._event_types(folder, data_set.fingerprint),
            preset=self._settings.data.events,
            imports=await asyncio.to_thread(lambda: list(latest_imports(self._settings.state_dir / "imports"))),
            events=sum(int(events or 0) for events, _ in counts),
            last_event=_iso(max(times, default=None)),
            last_arrival=_iso(max((*arrivals, *logged_ms), default=None)),
            streams={
                kind: WaitingView(pending=one.pending, lag_s=one.lag_s, longest=one.longest, used_bytes=one.used_bytes)
                for kind, one in backlog.items()
            },
            log=log,
        )

    async def recent(self, limit: int) -> RecentEvents:
        """The newest events that the streams hold, at most `limit`. Raises `StoreError`."""
        commands = [
            ("XREVRANGE", self._keys.events(number), "+", "-", "COUNT", limit)
            for number in range(self._keys.partitions)
        ]
        entries = [entry for stream in await self._client.read(commands) for entry in stream]
        newest = heapq.nlargest(limit, entries, key=lambda entry: stream_id(entry[0].decode()))
        return RecentEvents(events=[self._recent(entry_id.decode(), fields[b"e"]) for entry_id, fields in newest])

    def _recent(self, entry_id: str, packed: bytes) -> RecentEvent:
        event = orjson.loads(packed)
        return RecentEvent(
            stream_id=entry_id,
            received=iso_time(stream_id(entry_id)[0]),
            user_id=self._ids.user(event["user_id"]),
            item_id=self._ids.item(event["item_id"]),
            title=self._title(event["item_id"]),
            event_type=event["event_type"],
            value=event["value"],
            time=iso_time(event["timestamp_ms"]),
            simulated=bool((event["context"] or {}).get("simulated")),
        )

    async def _event_types(self, folder: Path, fingerprint: str) -> dict[str, int]:
        async with self._counting:
            if self._counted[0] != fingerprint:
                self._counted = (fingerprint, await asyncio.to_thread(count_event_types, folder))
            return self._counted[1]


def count_event_types(folder: Path) -> dict[str, int]:
    """Events of the data set by type, the most frequent first; empty where its table cannot be read."""
    counts: Counter[str] = Counter()
    try:
        with pq.ParquetFile(folder / "interactions.parquet", read_dictionary=["event_type"]) as file:
            for batch in file.iter_batches(1_000_000, columns=["event_type"]):
                for found in batch.column(0).value_counts().to_pylist():
                    counts[found["values"]] += found["counts"]
    except (OSError, pa.ArrowException):
        return {}
    return dict(counts.most_common())


def _data_set(folder: Path) -> tuple[DatasetMeta | None, str | None]:
    """Its description, without a check of its files, which takes long; or why there is none."""
    try:
        return DatasetMeta.model_validate_json((folder / META).read_bytes()), None
    except FileNotFoundError:
        return None, "no data set was imported, or this machine does not have it"
    except (OSError, ValidationError) as error:
        return None, f"the description of the data set cannot be read: {str(error).splitlines()[0]}"


def _mapping(folder: Path) -> dict[str, Any] | None:
    try:
        with (folder / MAP).open("rb") as file:
            found = yaml.safe_load(file.read(MAP_BYTES))
    except (OSError, yaml.YAMLError):
        return None
    return found if isinstance(found, dict) else None


def _log(log: EventLog) -> tuple[LogView, list[int]]:
    """The log's size, and when the newest event of each part came in, in ms."""
    parts = log.parts("events")
    states = [part.path.stat() for part in parts]
    written = max((int(state.st_mtime * 1000) for state in states), default=None)
    view = LogView(parts=len(parts), used_bytes=sum(state.st_size for state in states), last_compaction=_iso(written))
    return view, [part.last[0] for part in parts]


def _iso(time_ms: int | None) -> str | None:
    return None if time_ms is None else iso_time(time_ms)
