"""An experiment's sums as they grew: a snapshot now and then, for plots over time."""

from dataclasses import dataclass

import orjson
import redis.exceptions as raw

from experiments.user_totals import VariantSums
from features.redis.connection import StoreClient, translate
from features.redis.keys import Keys

SNAPSHOTS_KEPT = 2_000
SHORTEST_MS = 2_000
SHARE = 0.01
"""Two snapshots lie this share of the time that the experiment has run apart: a month makes several hundred."""


@dataclass(frozen=True)
class SeriesPoint:
    """The sums of each variant at a time."""

    time_ms: int
    sums: dict[str, VariantSums]


def due(started_ms: int, now_ms: int, last_ms: int | None) -> bool:
    """Whether it is time for the next snapshot."""
    return last_ms is None or now_ms - last_ms >= max(SHORTEST_MS, SHARE * (now_ms - started_ms))


async def add_snapshot(
    client: StoreClient, keys: Keys, experiment: str, time_ms: int, sums: dict[str, VariantSums]
) -> bool:
    """Keep a snapshot; False when another replica has kept one of this moment or later."""
    key = keys.experiment_series(experiment)
    small = {variant: {name: value for name, value in found.items() if value} for variant, found in sums.items()}
    command = ("XADD", key, "MAXLEN", "~", SNAPSHOTS_KEPT, f"{time_ms}-1", "sums", orjson.dumps(small))
    [answer] = await client.pipeline([command])
    if isinstance(answer, raw.ResponseError) and "equal or smaller" in str(answer):
        return False
    if isinstance(answer, BaseException):
        raise translate(answer) from answer
    return True


async def last_snapshot_ms(client: StoreClient, keys: Keys, experiment: str) -> int | None:
    """Time of the latest snapshot."""
    found = await client.run("XREVRANGE", keys.experiment_series(experiment), "+", "-", "COUNT", 1)
    return int(found[0][0].decode().partition("-")[0]) if found else None


async def read_series(client: StoreClient, keys: Keys, experiment: str, limit: int) -> list[SeriesPoint]:
    """Up to `limit` snapshots, evenly chosen, oldest first, the newest among them."""
    entries = await client.run("XRANGE", keys.experiment_series(experiment), "-", "+")
    if len(entries) > limit:
        last = len(entries) - 1
        entries = [entries[round(last * place / max(1, limit - 1))] for place in range(limit)]
    return [
        SeriesPoint(int(entry_id.decode().partition("-")[0]), orjson.loads(fields[b"sums"]))
        for entry_id, fields in entries
    ]
