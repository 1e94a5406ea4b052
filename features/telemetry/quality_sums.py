"""Live quality of the served lists in the store: sums by model version and day, each list counted once."""

from collections.abc import Mapping
from dataclasses import dataclass

from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.redis.scripts import Script, run_script

SHOWN_KEPT_S = 40 * 86_400
_RECORD = Script("telemetry/record_quality", SHOWN_KEPT_S=SHOWN_KEPT_S)
VersionDay = tuple[str, str]


@dataclass(frozen=True)
class QualitySums:
    """What became of the lists of one model on one day.

    Attributes:
        sums: those of `models.monitoring.live_quality.add_up`, and `ratings`, `squared_error` (in millionths).
        items_shown: different items on these lists, within about 1 %; None when that is not kept any more.
    """

    version: str
    day: str
    sums: dict[str, int]
    items_shown: int | None


async def read_watermark(client: StoreClient, keys: Keys) -> int | None:
    """The time in ms up to which lists were judged. Raises `StoreError`."""
    found = await client.run("HGET", keys.quality, "watermark")
    return None if found is None else int(found)


async def record_quality(
    client: StoreClient,
    keys: Keys,
    seen: int | None,
    watermark: int,
    sums: Mapping[VersionDay, Mapping[str, int]],
    shown: Mapping[VersionDay, set[str]],
    left_out: Mapping[int, int] | None = None,
    forget_before_s: int = 0,
) -> bool:
    """Add sums, and move the watermark from `seen`. False when it was not there any more.

    Args:
        left_out: second -> how many simulated events of it were left out.
        forget_before_s: those of earlier seconds wait no longer in the streams; 0 to forget none.

    Raises:
        StoreError: all of it is in the store, or nothing.
    """
    fields = [
        (f"{version}|{day}|{name}", amount)
        for (version, day), amounts in sums.items()
        for name, amount in amounts.items()
        if amount
    ]
    args: list[object] = ["" if seen is None else seen, watermark, len(fields)]
    for field in fields:
        args += field
    args.append(len(left_out or {}))
    for pair in (left_out or {}).items():
        args += pair
    args.append(forget_before_s)
    for items in shown.values():
        args += [len(items), *items]
    touched = [keys.quality, keys.left_out, *(keys.shown_items(version, day) for version, day in shown)]
    return bool(await run_script(client, _RECORD, touched, args))


async def forget_quality(client: StoreClient, keys: Keys, days: int) -> int:
    """Remove the sums of all but the latest `days` days that have any. Returns how many. Raises `StoreError`."""
    fields = [raw.decode() for raw in await client.run("HKEYS", keys.quality)]
    dated = [(parts[1], field) for field in fields if len(parts := field.split("|")) == 3]
    kept = sorted({day for day, _ in dated})[-days:]
    gone = [field for day, field in dated if day not in kept]
    for start in range(0, len(gone), 1000):
        await client.run("HDEL", keys.quality, *gone[start : start + 1000])
    return len(gone)


async def read_left_out(client: StoreClient, keys: Keys) -> dict[int, int] | None:
    """Second -> simulated events of it that were left out; None where nobody has counted any yet.

    Raises:
        StoreError: the store does not answer.
    """
    found = await client.run("HGETALL", keys.left_out)
    if not found:
        return None
    return {int(second): int(amount) for second, amount in found.items() if second != b"counted"}


async def read_quality(client: StoreClient, keys: Keys, days: int = 14) -> list[QualitySums]:
    """The latest days, newest first. Raises `StoreError`."""
    found: dict[VersionDay, dict[str, int]] = {}
    for raw, amount in (await client.run("HGETALL", keys.quality)).items():
        parts = raw.decode().split("|")
        if len(parts) == 3:
            found.setdefault((parts[0], parts[1]), {})[parts[2]] = int(amount)
    kept = sorted({day for _, day in found}, reverse=True)[:days]
    chosen = sorted((pair for pair in found if pair[1] in kept), key=lambda pair: (pair[1], pair[0]), reverse=True)
    counts = await client.read([("PFCOUNT", keys.shown_items(*pair)) for pair in chosen])
    return [
        QualitySums(*pair, found[pair], int(count) if count else None)
        for pair, count in zip(chosen, counts, strict=True)
    ]
