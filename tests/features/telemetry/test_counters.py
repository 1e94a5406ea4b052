"""Counts of several replicas, on each backend."""

import time

import pytest

from features.recording.online_store import OnlineStore
from features.telemetry.counters import SLICES_KEPT, Writer, read_telemetry, record_telemetry

pytestmark = pytest.mark.anyio


def writer(name: str, silent_s: float = 0.0) -> Writer:
    return Writer("ranking", 1000, int((time.time() - silent_s) * 1000), name)


async def test_counts_of_replicas_add_up_and_outlive_them(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    assert await record_telemetry(client, keys, writer("one"), 1, {"requests:recommend:200": 3, "cache_hits": 1})
    assert await record_telemetry(client, keys, writer("two"), 1, {"requests:recommend:200": 4})
    assert await record_telemetry(client, keys, writer("one"), 2, {"requests:recommend:200": 5})
    found = await read_telemetry(client, keys)
    assert found.totals == found.recent == {"requests:recommend:200": 12, "cache_hits": 1}
    assert 60 <= found.window_s < 70
    assert {one.name for one in found.writers} == {"one", "two"}
    assert {(one.deployment, one.started_ms) for one in found.writers} == {("ranking", 1000)}


async def test_a_replica_that_fell_silent_is_not_listed_but_its_counts_stay(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    await record_telemetry(client, keys, writer("old", silent_s=60), 1, {"cache_hits": 1})
    await record_telemetry(client, keys, writer("lost", silent_s=7200), 1, {"cache_hits": 1})
    await record_telemetry(client, keys, writer("new"), 1, {"cache_hits": 1})
    found = await read_telemetry(client, keys)
    assert [one.name for one in found.writers] == ["new"]
    assert found.totals["cache_hits"] == 3
    assert set(await client.run("HKEYS", keys.telemetry_writers)) == {b"old", b"new"}


async def test_a_report_that_is_sent_again_counts_once(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    assert await record_telemetry(client, keys, writer("one"), 1, {"cache_hits": 1})
    assert not await record_telemetry(client, keys, writer("one"), 1, {"cache_hits": 1})
    assert await record_telemetry(client, keys, writer("two"), 1, {"cache_hits": 1})
    assert (await read_telemetry(client, keys)).totals == {"cache_hits": 2}


async def test_slices_expire_and_totals_do_not(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    await record_telemetry(client, keys, writer("one"), 1, {"cache_hits": 1})
    slices = [key async for key in client.scan(f"{keys.telemetry}:*")]
    assert len(slices) == 1
    assert 0 < await client.run("TTL", slices[0]) <= 10 * (SLICES_KEPT + 1)
    assert await client.run("TTL", keys.telemetry) == -1


async def test_nothing_counted_yet_is_empty(store: OnlineStore) -> None:
    found = await read_telemetry(store.client, store.keys)
    assert not found.totals
    assert not found.recent
    assert not found.writers
