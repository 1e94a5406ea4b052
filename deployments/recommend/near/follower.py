"""Follows the event streams for the near counts of a model: what others just took up changes the next lists.

It begins where the training ended (`NearState.read`). What a compaction has moved into the log meanwhile is read there;
so a replica that starts, or that was away for long, counts each event once. It works in slices between requests.
"""

import asyncio
import contextvars
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from configs.event_types import EventTypes
from configs.settings import Settings
from data.dataset import DataError
from data.event_log import EventLog, LogPart
from data.log_tables import is_simulated, stream_id
from deployments.recommend.loaded_model import LoadedModel
from features.redis.connection import StoreClient, connect
from features.redis.errors import StoreError
from features.redis.keys import Keys
from features.users.erasure import Erasures
from models.relations.near_counts import counted

logger = logging.getLogger("ray.serve")
CATCH_UP_S = 5.0
"""How long a new model waits for its near counts to be level with the events; after that it serves all the same."""
FOLLOW_S = 0.25
"""How long it rests where nothing waits."""
PAGE = 125
"""Events of a partition that are read at once."""
SLICE = 250
"""Events that are counted before requests have their turn."""
MOST_USERS = 100_000
"""Users whose latest items are remembered; those who acted longest ago go."""
PARTS = 4
"""Parts of the log that are counted before it looks again."""
Id = tuple[int, int]


class _Event(NamedTuple):
    user_id: str
    item_id: str
    event_type: str
    value: float | None
    timestamp_ms: int


class NearFollower:
    """Counts the events of one model's near relations.

    Args:
        client, keys: the online store, by a connection of its own; closed by `stop`.
        log: the offline log.
        loaded: the model; one with near counts.
        types: which events are counted.
        simulated: whether simulated events count.
        forgotten: users who were erased since the training.

    Attributes:
        counted: events that were counted.
        read: partition -> id of the last entry of its stream that was counted, or left out.
        problem: why the streams or the log cannot be read; None while they can.
    """

    def __init__(
        self,
        client: StoreClient,
        keys: Keys,
        log: EventLog,
        loaded: LoadedModel,
        types: EventTypes,
        simulated: bool,
        forgotten: Sequence[str] = (),
    ) -> None:
        assert loaded.near is not None
        assert loaded.near_start is not None
        self._client, self._keys, self._log = client, keys, log
        self._near, self._places_of = loaded.near, loaded.builder.places
        self._types, self._simulated = types, simulated
        self.read: dict[int, Id] = dict.fromkeys(range(keys.partitions), (0, 0))
        self.read |= loaded.near_start.positions()
        self._users = OrderedDict((user_id, slot) for slot, user_id in enumerate(loaded.near_users))
        for user_id in set(forgotten) & self._users.keys():
            self._near.counts.forget(self._users[user_id])
        self._log_state = -1
        self._behind = True
        self._looked_s = self._even_s = time.monotonic()
        self.counted = 0
        self.problem: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def behind_s(self) -> float:
        """For how long it has not been level with the streams: at most `FOLLOW_S` while it keeps up."""
        return time.monotonic() - self._even_s

    async def start(self, within_s: float) -> None:
        """Count what happened since the training, for as long as this; then go on in the background."""
        until_s = time.monotonic() + within_s
        while self._behind and self.problem is None and time.monotonic() < until_s:
            await self._turn()
        # In a context of its own: see `MicroBatcher.ask`.
        self._task = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())

    async def stop(self) -> None:
        """End the background work, and the connection."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._client.aclose()

    async def _run(self) -> None:
        while not self._stopping:
            await self._turn()
            if not self._behind or self.problem is not None:
                await asyncio.sleep(FOLLOW_S)

    async def _turn(self) -> None:
        try:
            await self.look()
        except (StoreError, DataError) as error:
            if self.problem is None:
                logger.warning("the near relations are not followed, trying on: %s", error)
            self.problem = str(error)
        except Exception as error:
            if self.problem is None:
                logger.exception("following the near relations failed, trying on")
            self.problem = f"{type(error).__name__}: {error}"
        else:
            if self.problem is not None:
                logger.warning("the near relations are followed again")
            self.problem = None

    async def look(self) -> None:
        """Count what has come since the last look: `PAGE` events of a partition at most, or `PARTS` parts of the log.

        Raises:
            StoreError, DataError: the streams or the log cannot be read; the next look reads the same.
        """
        began_s = time.monotonic()
        commands: list[tuple[object, ...]] = []
        for partition, (time_ms, sequence) in self.read.items():
            commands.append(("XRANGE", self._keys.events(partition), f"({time_ms}-{sequence}", "+", "COUNT", PAGE))
        answers = await self._client.read(commands)
        # After the streams: an entry is in the log before it leaves its stream.
        state, parts = await asyncio.to_thread(self._moved)
        for part in parts[:PARTS]:
            await self._count_part(part)
        self._behind = len(parts) > PARTS or any(len(entries) == PAGE for entries in answers)
        if len(parts) > PARTS:
            return
        self._log_state = state
        for partition, entries in zip(self.read, answers, strict=True):
            came = [(stream_id(entry_id.decode()), fields[b"e"]) for entry_id, fields in entries]
            fresh = [entry for entry in came if entry[0] > self.read[partition]]
            for first in range(0, len(fresh), SLICE):
                part_of_them = fresh[first : first + SLICE]
                self._count([event for _, packed in part_of_them if (event := self._event(packed)) is not None])
                self.read[partition] = part_of_them[-1][0]
                await asyncio.sleep(0)
        if not self._behind:
            self._even_s = began_s

    def _event(self, packed: bytes) -> _Event | None:
        row = orjson.loads(packed)
        if is_simulated(row["context"]) and not self._simulated:
            return None
        return _Event(row["user_id"], row["item_id"], row["event_type"], row["value"], row["timestamp_ms"])

    def _moved(self) -> tuple[int, list[LogPart]]:
        """The parts of the log that a compaction has written from what was not counted yet."""
        folder = self._log.log_dir / "events"
        state = folder.stat().st_mtime_ns if folder.is_dir() else 0
        if state == self._log_state:
            return state, []
        # Imported history never came through a stream; the next training counts it.
        parts = [part for part in self._log.parts("events") if not part.bulk and part.partition in self.read]
        return state, [part for part in parts if part.last > self.read[part.partition]]

    async def _count_part(self, part: LogPart) -> None:
        table = await asyncio.to_thread(_read, self._log, part)
        for batch in table.to_batches(max_chunksize=SLICE):
            rows = batch.to_pydict()
            fresh = [stream_id(text) > self.read[part.partition] for text in rows["stream_id"]]
            if not self._simulated:
                fresh = [one and not marked for one, marked in zip(fresh, rows["simulated"], strict=True)]
            events = zip(*(rows[name] for name in _Event._fields), strict=True)
            self._count([_Event(*event) for event, one in zip(events, fresh, strict=True) if one])
            self.read[part.partition] = max(self.read[part.partition], stream_id(rows["stream_id"][-1]))
            await asyncio.sleep(0)
        self.read[part.partition] = max(self.read[part.partition], part.last)

    def _count(self, events: Sequence[_Event]) -> None:
        known = [event for event in events if event.event_type in self._types.by_name]
        codes = np.array([self._types[event.event_type].code for event in known], np.uint8)
        values = np.array([np.nan if event.value is None else event.value for event in known], np.float32)
        known = [event for event, one in zip(known, counted(self._types, codes, values).tolist(), strict=True) if one]
        if not known:
            return
        item_ids = [event.item_id.encode() for event in known]
        rows = self._near.event_rows(item_ids, self._places_of(item_ids))
        slots = np.array([self._slot(event.user_id) for event in known], np.int64)
        times_ms = np.array([event.timestamp_ms for event in known], np.int64)
        kept = rows >= 0
        self._near.counts.take(slots[kept], rows[kept], times_ms[kept])
        self.counted += int(kept.sum())

    def _slot(self, user_id: str) -> int:
        slot = self._users.get(user_id)
        if slot is not None:
            self._users.move_to_end(user_id)
            return slot
        if len(self._users) < MOST_USERS:
            slot = len(self._users)
        else:
            _, slot = self._users.popitem(last=False)
            self._near.counts.forget(slot)
        self._users[user_id] = slot
        return slot


def _read(log: EventLog, part: LogPart) -> pa.Table:
    """What is counted of a part, with the marks of simulated events, which parts of earlier versions lack."""
    wanted = [*_Event._fields, "stream_id", "simulated"]
    present = [name for name in wanted if name in log.columns(part)]
    [(_, table)] = log.part_tables([part], present)
    if "simulated" not in present:
        table = table.append_column("simulated", pa.array([False] * len(table), pa.bool_()))
    return table


async def exchange(before: NearFollower | None, after: NearFollower | None) -> None:
    """Start one follower, and stop the one before it."""
    if after is not None:
        await after.start(CATCH_UP_S)
    if before is not None:
        await before.stop()


def follower_of(
    settings: Settings, keys: Keys, loaded: LoadedModel | None, types: EventTypes, erasures: Erasures
) -> NearFollower | None:
    """A follower for a model with near counts, with a connection of its own; None for any other."""
    if loaded is None or loaded.near is None:
        return None
    created_ms = loaded.model.manifest.created_ms
    forgotten = [user_id for user_id in loaded.near_users if erasures.covers(user_id, created_ms)]
    client, log = connect(settings.store, settings.store_url), EventLog(settings.log_dir)
    return NearFollower(client, keys, log, loaded, types, settings.training.simulated, forgotten)
