"""Recreating the features from what they were made of: the data set, the offline log and the streams.

While a partition is rebuilt, its events are logged at once but applied only at the end (`rebuilding`); reads see
features that are still growing. A rebuild that was killed leaves it so, and the next one starts from scratch and ends
it: nothing is lost meanwhile, for the streams and the log are never touched.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from data.dataset import Dataset
from data.event_log import EventLog
from data.log_tables import IDENTITY, KINDS, Kind, entry_row, stream_id
from features.experiments.changes import read_ends
from features.experiments.counts import rule_of, sums_command, user_commands
from features.experiments.recount import PartitionReplay
from features.items.attribute_schema import declare_attributes
from features.items.catalogue import put_items
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import WINDOWS, OnlineStore
from features.recovery.described import catalogue_items, described_users
from features.recovery.seed import Seed, SeedEvents
from features.recovery.seeded_history import SeededHistory
from features.redis.connection import Command, translate
from features.redis.lock import Lock
from features.redis.scripts import Call, Script, run_calls, run_script
from features.streams.drain import read_entries
from features.users.erasure import Erasures, read_erasures
from features.users.user_attributes import put_user_attributes

BATCH = 500
IN_FLIGHT = 3
CHUNK = 10_000
LISTS_FIRST: tuple[Kind, ...] = ("exposures", "events")
_FINISH = Script("state/finish_rebuild")
Progress = Callable[[int], object]


@dataclass(frozen=True)
class Rebuilt:
    """Counts of what a rebuild read."""

    interactions: int
    logged_events: int
    stream_events: int
    exposures: int


async def rebuild(
    store: OnlineStore, log: EventLog, dataset: Dataset | None, lock: Lock, progress: Progress = lambda n: None
) -> Rebuilt:
    """Delete all features and make them again, equal to what the same events gave when they arrived.

    Equal means: history, counters, affinities, popularity, first and last times as before, decayed values up to
    rounding. New are the users' versions (no cached list outlives a rebuild) and the processing times of what came
    from the data set. Kept as they are: the ledgers, by which retries are recognised. Gone is what users who were
    erased since had added to the sums of items.

    Args:
        dataset: its interactions count as events that were never in a stream; its items join the catalogue, and its
            users get their attributes where they have none.
        lock: the maintenance lock, held: no compaction may move entries meanwhile.
        progress: called with the number of events just applied.

    Raises:
        DataError: an attribute of the data set has another type in the store; nothing was changed.
        StoreBusy: the lock was lost.
        StoreError: the store does not answer or is full; run it again.
    """
    await store.prepare()
    client, keys = store.client, store.keys
    if dataset is not None:
        await declare_attributes(client, keys, dataset.item_attributes, dataset.user_attributes, "the data set")
    erasures = await read_erasures(client, keys, log.log_dir)
    await client.read([("SET", keys.rebuilding(partition), "1") for partition in range(keys.partitions)])
    await _clear(store)
    if dataset is not None:
        await _describe(store, dataset, erasures)
    seconds, micros = await client.run_on(keys.meta, "TIME")
    now_us = int(seconds) * 1_000_000 + int(micros)
    ends = await read_ends(client, keys)
    rows = dict.fromkeys(KINDS, 0)
    streamed = bulk = 0
    async with _history(store, dataset, log, erasures) as history:
        for partition in range(keys.partitions):
            await lock.check()
            events = await asyncio.to_thread(history.of_partition, partition)
            bulk += events.table.num_rows
            await _seed(store, events, now_us, progress)
            counts = PartitionReplay(store, rule_of(store.limits), ends, erasures)
            for kind in LISTS_FIRST:
                for table in log.tables(kind, partition, bulk=False):
                    found = table.to_pylist()
                    counts.add(kind, found, known_only=True)
                    rows[kind] += await _apply(store, _row_calls(store, kind, found, erasures), progress)
            counts.add("events", history.rows_of(partition, counts.known()), known_only=True)
            last = dict.fromkeys(KINDS, "")
            done = 0
            while not done:
                for kind in LISTS_FIRST:
                    async for found, entry_id in _stream_rows(store, log, kind, partition, last[kind]):
                        counts.add(kind, found)
                        n = await _apply(store, _row_calls(store, kind, found, erasures), progress)
                        streamed += n if kind == "events" else 0
                        rows[kind] += n if kind == "exposures" else 0
                        last[kind] = entry_id
                await _write_counts(store, partition, counts, ends)
                flag = [keys.rebuilding(partition), keys.events(partition), keys.exposures(partition)]
                done = await run_script(client, _FINISH, flag, [last[kind] or "0-0" for kind in KINDS])
    imported = history.interactions
    return Rebuilt(imported, rows["events"] + bulk - imported, streamed, rows["exposures"])


@contextlib.asynccontextmanager
async def _history(
    store: OnlineStore, dataset: Dataset | None, log: EventLog, erasures: Erasures
) -> AsyncIterator[SeededHistory]:
    """Read it in a thread, which nobody can stop: whoever is cancelled meanwhile waits, to close its files."""
    reading = asyncio.ensure_future(asyncio.to_thread(SeededHistory, store, dataset, log, erasures))
    try:
        yield await asyncio.shield(reading)
    finally:
        (await reading).close()


async def _stream_rows(
    store: OnlineStore, log: EventLog, kind: Kind, partition: int, last: str
) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
    """A stream's entries after `last`, except what the log holds already, chunk by chunk with the last id of each."""
    stream = store.keys.events(partition) if kind == "events" else store.keys.exposures(partition)
    while entries := await read_entries(store.client, stream, f"({last}" if last else "-", "+", CHUNK):
        held = set() if last else log.held(kind, partition, stream_id(entries[0][0]))
        rows = [entry_row(kind, entry, partition) for entry in entries]
        last = entries[-1][0]
        yield [row for row in rows if (row["stream_id"], row[IDENTITY[kind]]) not in held], last


async def _write_counts(store: OnlineStore, partition: int, counts: PartitionReplay, ends: Mapping[str, int]) -> None:
    """Write what experiments have counted in a partition, over what an earlier round wrote."""
    users = counts.users()
    sums = sums_command(store.keys.experiment_sums(partition), users.values(), ends)
    commands: list[Command] = [("UNLINK", store.keys.experiment_sums(partition)), *sums]
    idle_s = store.limits.idle_user_days * 86_400
    for user_id, replay in users.items():
        commands += user_commands(store.keys, user_id, replay, idle_s)
    for start in range(0, len(commands), BATCH):
        await store.client.read(commands[start : start + BATCH])


async def _describe(store: OnlineStore, dataset: Dataset, erasures: Erasures) -> None:
    """Seed what the data set says of items and users, where nobody has said anything yet."""
    items = catalogue_items(dataset)
    while part := list(islice(items, CHUNK)):  # described items take ten times as much memory as the data set's table
        await put_items(store.client, store.keys, part, only_new=True)
    users = dict(described_users(dataset))
    erased = erasures.covered(users)
    known = {user_id: attributes for user_id, attributes in users.items() if user_id not in erased}
    await put_user_attributes(store.client, store.keys, known, only_new=True)


async def _clear(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    for kind in ("u", "h", "s", "x", "i"):
        doomed: list[bytes] = []
        async for key in client.scan(keys.pattern(kind)):
            doomed.append(key)
            if len(doomed) == 1000:
                await client.read([("UNLINK", key) for key in doomed])
                doomed = []
        await client.read([("UNLINK", key) for key in doomed])
    partitions = range(keys.partitions)
    await client.read(
        [("UNLINK", keys.totals(partition)) for partition in partitions]
        + [("UNLINK", keys.trending(partition, window)) for partition in partitions for window in WINDOWS]
    )


async def _seed(store: OnlineStore, events: SeedEvents, now_us: int, progress: Progress) -> None:
    """Write the features of events, before those of any other of the partition."""
    commands = (await asyncio.to_thread(Seed, store, events, now_us)).commands()
    waiting: asyncio.Task[Any] | None = None
    try:
        while batch := list(islice(commands, BATCH)):
            if waiting is not None:
                await waiting
            waiting = asyncio.create_task(store.client.read(batch))  # the next is made while the server writes this
        if waiting is not None:
            await waiting
    finally:
        if waiting is not None:
            waiting.cancel()
    progress(events.table.num_rows)


def _row_calls(store: OnlineStore, kind: Kind, rows: Iterable[dict[str, Any]], erasures: Erasures) -> Iterator[Call]:
    for row in rows:
        if erasures.covers(row["user_id"], int(row["stream_id"].partition("-")[0])):
            continue
        if kind == "events":
            event = Event(
                row["event_id"],
                row["user_id"],
                row["item_id"],
                row["event_type"],
                row["timestamp_ms"],
                row["value"],
                categories=tuple(row["categories"] or ()),
            )
            yield store.event_call(event, replay=row["stream_id"])
        else:
            exposure = Exposure(
                row["recommendation_id"], row["user_id"], row["time_ms"], None, None, None, tuple(row["item_ids"])
            )
            yield store.exposure_call(exposure, replay=True)


async def _apply(store: OnlineStore, calls: Iterable[Call], progress: Progress) -> int:
    """Run calls in pipelines, a few in flight, so that this process packs one while the server works on another."""
    waiting: list[asyncio.Task[int]] = []
    total = 0
    try:
        remaining = iter(calls)
        while batch := list(islice(remaining, BATCH)):
            waiting.append(asyncio.create_task(_run(store, batch)))
            if len(waiting) == IN_FLIGHT:
                total += (n := await waiting.pop(0))
                progress(n)
        for task in waiting:
            total += (n := await task)
            progress(n)
    finally:
        for task in waiting:
            task.cancel()
    return total


async def _run(store: OnlineStore, calls: list[Call]) -> int:
    for answer in await run_calls(store.client, calls):
        if isinstance(answer, BaseException):
            raise translate(answer) from answer
    return len(calls)
