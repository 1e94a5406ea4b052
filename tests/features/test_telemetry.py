"""Counts of several replicas, on each backend."""

import pytest

from features.store import OnlineStore
from features.telemetry import SLICES_KEPT, read_telemetry, record_telemetry

pytestmark = pytest.mark.anyio


async def test_counts_of_replicas_add_up_and_outlive_them(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    assert await record_telemetry(client, keys, "one", 1, {"requests:recommend:200": 3, "cache_hits": 1})
    assert await record_telemetry(client, keys, "two", 1, {"requests:recommend:200": 4})
    assert await record_telemetry(client, keys, "one", 2, {"requests:recommend:200": 5})
    found = await read_telemetry(client, keys)
    assert found.totals == found.recent == {"requests:recommend:200": 12, "cache_hits": 1}
    assert 60 <= found.window_s < 70
    assert set(found.writers) == {"one", "two"}


async def test_a_report_that_is_sent_again_counts_once(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    assert await record_telemetry(client, keys, "one", 1, {"cache_hits": 1})
    assert not await record_telemetry(client, keys, "one", 1, {"cache_hits": 1})
    assert await record_telemetry(client, keys, "two", 1, {"cache_hits": 1})
    assert (await read_telemetry(client, keys)).totals == {"cache_hits": 2}


async def test_slices_expire_and_totals_do_not(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    await record_telemetry(client, keys, "one", 1, {"cache_hits": 1})
    slices = [key async for key in client.scan(f"{keys.telemetry}:*")]
    assert len(slices) == 1
    assert 0 < await client.run("TTL", slices[0]) <= 10 * (SLICES_KEPT + 1)
    assert await client.run("TTL", keys.telemetry) == -1


async def test_nothing_counted_yet_is_empty(store: OnlineStore) -> None:
    found = await read_telemetry(store.client, store.keys)
    assert not found.totals
    assert not found.recent
    assert not found.writers
