"""Live quality in the store, and the reader behind it, on each backend."""

from pathlib import Path

import pytest

from data.event_log import EventLog
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.redis.lock import maintenance
from features.streams.drain import drain
from features.streams.stream_reader import StreamReader
from features.telemetry.quality_sums import forget_quality, read_quality, read_watermark, record_quality

pytestmark = pytest.mark.anyio


async def test_a_list_counts_once_whoever_judges_it(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    assert await read_watermark(client, keys) is None
    day = ("v1", "2026-01-01")
    assert await record_quality(client, keys, None, 100, {day: {"lists": 2, "clicked": 0}}, {day: {"a", "b"}})
    assert not await record_quality(client, keys, None, 100, {day: {"lists": 2}}, {})
    assert await record_quality(client, keys, 100, 200, {day: {"lists": 1, "clicked": 1}}, {day: {"b", "c"}})
    assert await read_watermark(client, keys) == 200
    [found] = await read_quality(client, keys)
    assert (found.version, found.day, found.sums) == ("v1", "2026-01-01", {"lists": 3, "clicked": 1})
    assert found.items_shown == 3


async def test_only_the_latest_days_are_kept(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    sums = {("v1", f"2026-01-{day:02d}"): {"lists": day, "clicked": 1} for day in range(1, 31)}
    assert await record_quality(client, keys, None, 100, {**sums, ("v2", "2026-01-30"): {"lists": 7}}, {})
    assert await forget_quality(client, keys, 14) == 2 * 16
    assert await client.run("HLEN", keys.quality) == 2 * 14 + 1 + 1  # and the watermark
    assert await read_watermark(client, keys) == 100
    found = await read_quality(client, keys, 30)
    assert {one.day for one in found} == {f"2026-01-{day:02d}" for day in range(17, 31)}
    assert await forget_quality(client, keys, 14) == 0


async def test_many_items_at_once(store: OnlineStore) -> None:
    day = ("v1", "2026-01-01")
    items = {str(number) for number in range(3000)}
    assert await record_quality(store.client, store.keys, None, 1, {}, {day: items})
    assert await record_quality(store.client, store.keys, 1, 2, {day: {"lists": 1}}, {})
    [found] = await read_quality(store.client, store.keys)
    assert found.items_shown == pytest.approx(3000, rel=0.03)


async def test_the_reader_misses_nothing_and_repeats_nothing_while_the_log_takes_over(
    store: OnlineStore, tmp_path: Path
) -> None:
    log = EventLog(tmp_path)
    reader = StreamReader(store.client, store.keys, log, since_ms=0, most=7)
    found: list[str] = []

    async def record(first: int, last: int) -> None:
        for number in range(first, last):
            user = f"u{number % 5}"
            await store.log_exposures([Exposure(f"r{number}", user, 1, "v", None, None, ("a",))])
            await store.record_events([Event(f"e{number}", user, "a", "click", 1)])

    async def read() -> None:
        for _ in range(50):
            rows, _ = await reader.read()
            assert [row.at[0] for row in rows] == sorted(row.at[0] for row in rows)
            found.extend(str(row.content.get("event_id") or row.content["recommendation_id"]) for row in rows)

    async def compact() -> None:
        async with maintenance(store.client, store.keys, "test") as lock:
            await drain(store.client, store.keys, log, lock)

    await record(0, 30)
    await read()
    await record(30, 60)
    await compact()
    await record(60, 90)
    await read()
    await record(90, 91)
    await compact()
    await read()
    expected = [f"{kind}{number}" for number in range(91) for kind in "re"]
    assert len(found) == len(expected)
    assert set(found) == set(expected)
