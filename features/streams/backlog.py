"""What the streams hold that is not in the offline log yet."""

import time
from dataclasses import dataclass
from itertools import islice

from features.redis.connection import StoreClient
from features.redis.keys import Keys


@dataclass(frozen=True)
class Backlog:
    """The backlog of one kind of stream, over all partitions.

    Attributes:
        pending: entries that wait for a compaction.
        lag_s: age of the oldest of them; 0 where there is none.
        longest: entries of the partition that has most of them.
        used_bytes: memory of the streams, as the server estimates it.
        trimmed: exposures that were dropped before a compaction took them, ever; 0 for events, which never are.
    """

    pending: int
    lag_s: float
    longest: int = 0
    used_bytes: int = 0
    trimmed: int = 0


async def read_backlog(client: StoreClient, keys: Keys) -> dict[str, Backlog]:
    """The backlog of `events` and of `exposures`, in one round trip. Raises `StoreError`."""
    partitions = range(keys.partitions)
    streams = {
        "events": [keys.events(number) for number in partitions],
        "exposures": [keys.exposures(number) for number in partitions],
    }
    commands: list[tuple[object, ...]] = [("GET", keys.exposures_trimmed(number)) for number in partitions]
    for names in streams.values():
        commands += [("XLEN", name) for name in names]
        commands += [("XRANGE", name, "-", "+", "COUNT", 1) for name in names]
        commands += [("MEMORY USAGE", name) for name in names]
    answers = iter(await client.read(commands))
    now_s = time.time()
    trimmed = sum(int(count or 0) for count in islice(answers, keys.partitions))
    found: dict[str, Backlog] = {}
    for kind in streams:
        lengths, first, sizes = (list(islice(answers, keys.partitions)) for _ in range(3))
        oldest_ms = min((int(entries[0][0].partition(b"-")[0]) for entries in first if entries), default=None)
        lag_s = 0.0 if oldest_ms is None else max(0.0, now_s - oldest_ms / 1000)
        found[kind] = Backlog(
            sum(lengths), lag_s, max(lengths), sum(size or 0 for size in sizes), trimmed if kind == "exposures" else 0
        )
    return found
