"""What all replicas have counted, summed in the online store: right over several replicas and after restarts.

Every count is a whole number under a name of words joined by `:` (`requests:recommend:200`). It is added to a total,
which stays, and to a slice of ten seconds, which is kept for a quarter of an hour: from the slices come rates and
percentiles of the present.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from configs import clock
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.redis.scripts import Script, run_script

SLICE_S = 10
SLICES_KEPT = 90
SILENT_S = 10
_WRITER_KEPT_MS = 3_600_000
_RECORD = Script("telemetry/record_telemetry", SLICE_KEPT_S=SLICE_S * (SLICES_KEPT + 1), WRITER_KEPT_MS=_WRITER_KEPT_MS)


@dataclass(frozen=True)
class Writer:
    """A replica that reports counts."""

    deployment: str
    started_ms: int
    reported_ms: int
    name: str


@dataclass(frozen=True)
class Telemetry:
    """All counts, as they were at one moment.

    Attributes:
        totals: since the store was created.
        recent: what was counted in the last `window_s` seconds.
        window_s: whole slices and the part of the present one, so slightly more than was asked for.
        writers: the replicas that reported within the last `SILENT_S` seconds.
    """

    totals: Counter[str]
    recent: Counter[str]
    window_s: float
    writers: list[Writer]


async def record_telemetry(
    client: StoreClient, keys: Keys, writer: Writer, number: int, amounts: Mapping[str, int]
) -> bool:
    """Add amounts. A report that is repeated with its number changes nothing.

    Args:
        writer: whose name no other process has.
        number: the report's number, rising from 1.

    Returns:
        False when this report had been taken before.

    Raises:
        StoreError: it may or may not have been taken; send the same again.
    """
    now_ms = writer.reported_ms
    args: list[object] = [writer.name, number, now_ms, writer.deployment, writer.started_ms]
    for name, amount in amounts.items():
        args += (name, amount)
    touched = [keys.telemetry, keys.telemetry_slice(now_ms // (SLICE_S * 1000)), keys.telemetry_writers]
    return bool(await run_script(client, _RECORD, touched, args))


async def read_telemetry(client: StoreClient, keys: Keys, window_s: float = 60.0) -> Telemetry:
    """The totals, and what was counted lately. Raises `StoreError`."""
    now_ms = clock.now_ms()
    present = now_ms // (SLICE_S * 1000)
    slices = min(SLICES_KEPT, max(1, round(window_s / SLICE_S)))
    commands = [
        ("HGETALL", keys.telemetry),
        ("HGETALL", keys.telemetry_writers),
        *(("HGETALL", keys.telemetry_slice(present - back)) for back in range(slices + 1)),
    ]
    totals, writers, *parts = await client.read(commands)
    recent: Counter[str] = Counter()
    for part in parts:
        recent.update(_numbers(part))
    return Telemetry(
        totals=_numbers(totals),
        recent=recent,
        window_s=slices * SLICE_S + now_ms % (SLICE_S * 1000) / 1000,
        writers=[one for one in map(_writer, writers.items()) if now_ms - one.reported_ms < SILENT_S * 1000],
    )


def _writer(pair: tuple[bytes, bytes]) -> Writer:
    _, reported, deployment, started = pair[1].decode().split(":")
    return Writer(deployment, int(started), int(reported), pair[0].decode())


def _numbers(found: Mapping[bytes, bytes]) -> Counter[str]:
    return Counter({name.decode(): int(amount) for name, amount in found.items()})
