"""Draining the streams of the online store into the offline log."""

import asyncio
from dataclasses import dataclass

import orjson

from data.event_log import EventLog
from data.log_tables import IDENTITY, KINDS, Entry, Kind, entries_table, stream_id
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.redis.lock import Lock

PAGE = 1000


@dataclass(frozen=True)
class Drained:
    """Counts of what a compaction wrote to the log."""

    events: int
    exposures: int
    parts: int


async def drain(client: StoreClient, keys: Keys, log: EventLog, lock: Lock, chunk_rows: int = 20_000) -> Drained:
    """Move what the streams hold now into new parts of the log.

    Entries leave a stream only after their part is on disk under its final name, and a part is not written for
    entries that another one holds already; so a crash at any point neither loses nor repeats an entry.

    Args:
        lock: the maintenance lock, held.
        chunk_rows: rows per part at most; bounds the memory.

    Raises:
        StoreBusy: the lock was lost.
        StoreError: the store does not answer.
    """
    await asyncio.to_thread(log.sweep)
    rows = dict.fromkeys(KINDS, 0)
    parts = 0
    for partition in range(keys.partitions):
        for kind in KINDS:
            key = keys.events(partition) if kind == "events" else keys.exposures(partition)
            n, written = await _drain_stream(client, key, kind, partition, log, lock, chunk_rows)
            rows[kind] += n
            parts += written
    return Drained(rows["events"], rows["exposures"], parts)


async def _drain_stream(
    client: StoreClient, key: str, kind: Kind, partition: int, log: EventLog, lock: Lock, chunk_rows: int
) -> tuple[int, int]:
    newest = await client.run("XREVRANGE", key, "+", "-", "COUNT", 1)
    if not newest:
        return 0, 0
    end = newest[0][0].decode()  # what arrives from now on is for the next run; else this one might never end
    # An event that no copy has would be in the log, and once more under another id when its sender repeats it to the
    # copy that has taken over.
    await client.confirm(key)
    held: set[tuple[str, str]] | None = None
    total = parts = 0
    while entries := await read_entries(client, key, "-", end, chunk_rows):
        if held is None:
            held = await asyncio.to_thread(log.held, kind, partition, stream_id(entries[0][0]))
        fresh = [entry for entry in entries if (entry[0], _identity(kind, entry)) not in held] if held else entries
        if fresh:
            table = await asyncio.to_thread(entries_table, kind, fresh, partition)
            await lock.check()
            await asyncio.to_thread(log.write_part, kind, partition, table)
            total, parts = total + len(fresh), parts + 1
        time_ms, sequence = stream_id(entries[-1][0])
        await lock.check()
        await client.run("XTRIM", key, "MINID", "=", f"{time_ms}-{sequence + 1}")
    return total, parts


async def read_entries(client: StoreClient, key: str, start: str, end: str, limit: int) -> list[Entry]:
    """Up to `limit` entries of a stream between two ids (inclusive; `"(id"` excludes one), in pages."""
    entries: list[Entry] = []
    while len(entries) < limit:
        page = await client.run("XRANGE", key, start, end, "COUNT", min(PAGE, limit - len(entries)))
        entries += [(entry_id.decode(), fields[b"e"]) for entry_id, fields in page]
        if len(page) < PAGE:
            break
        start = f"({entries[-1][0]}"
    return entries


def _identity(kind: Kind, entry: Entry) -> str:
    identity: str = orjson.loads(entry[1])[IDENTITY[kind]]
    return identity
