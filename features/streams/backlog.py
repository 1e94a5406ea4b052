"""What the streams hold that is not in the offline log yet."""

import time
from dataclasses import dataclass

from features.redis.connection import StoreClient
from features.redis.keys import Keys


@dataclass(frozen=True)
class Backlog:
    """The backlog of one kind of stream, over all partitions.

    Attributes:
        pending: entries that wait for a compaction.
        lag_s: age of the oldest of them; 0 where there is none.
    """

    pending: int
    lag_s: float


async def read_backlog(client: StoreClient, keys: Keys) -> dict[str, Backlog]:
    """The backlog of `events` and of `exposures`, in one round trip. Raises `StoreError`."""
    partitions = range(keys.partitions)
    streams = {
        "events": [keys.events(number) for number in partitions],
        "exposures": [keys.exposures(number) for number in partitions],
    }
    commands: list[tuple[object, ...]] = []
    for names in streams.values():
        commands += [("XLEN", name) for name in names]
        commands += [("XRANGE", name, "-", "+", "COUNT", 1) for name in names]
    answers = await client.read(commands)
    now_s = time.time()
    found: dict[str, Backlog] = {}
    for place, kind in enumerate(streams):
        start = 2 * place * keys.partitions
        lengths = answers[start : start + keys.partitions]
        first = answers[start + keys.partitions : start + 2 * keys.partitions]
        oldest_ms = min((int(entries[0][0].partition(b"-")[0]) for entries in first if entries), default=None)
        lag_s = 0.0 if oldest_ms is None else max(0.0, now_s - oldest_ms / 1000)
        found[kind] = Backlog(sum(lengths), lag_s)
    return found
