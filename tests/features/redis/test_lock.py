import asyncio
import time

import pytest

from features.recording.online_store import OnlineStore
from features.redis.errors import StoreBusy
from features.redis.lock import maintenance

pytestmark = pytest.mark.anyio


async def test_one_holder_at_a_time_and_the_second_hears_who(store: OnlineStore) -> None:
    async with maintenance(store.client, store.keys, "compaction"):
        with pytest.raises(StoreBusy, match="compaction is at work"):
            async with maintenance(store.client, store.keys, "rebuild"):
                pass
    async with maintenance(store.client, store.keys, "rebuild") as lock:
        await lock.check()


async def test_waiting_for_the_holder(store: OnlineStore) -> None:
    order = []

    async def hold(name: str) -> None:
        async with maintenance(store.client, store.keys, name, wait_s=5) as lock:
            order.append(name)
            for _ in range(20):  # round trips, in which another could take the lock
                await lock.check()
            order.append(name)

    await asyncio.gather(*(hold(name) for name in "abc"))
    assert order[::2] == order[1::2]
    assert sorted(order) == list("aabbcc")


async def test_a_held_lock_outlives_its_time_and_a_killed_holders_does_not(store: OnlineStore) -> None:
    key, ttl_s = store.keys.lock("maintenance"), 1.0
    async with maintenance(store.client, store.keys, "compaction", ttl_s=ttl_s) as lock:
        until = time.monotonic() + 1.5 * ttl_s
        while time.monotonic() < until:
            assert await store.client.run("GET", key), "it ended in the hands of its holder"
            await asyncio.sleep(0.02)
        await lock.check()
    await store.client.run("SET", key, "compaction:dead", "PX", 100)
    async with maintenance(store.client, store.keys, "rebuild", wait_s=2):
        pass


async def test_who_lost_the_lock_hears_it_and_leaves_the_new_holders_alone(store: OnlineStore) -> None:
    key = store.keys.lock("maintenance")
    async with maintenance(store.client, store.keys, "compaction") as lock:
        await store.client.run("SET", key, "rebuild:other")
        with pytest.raises(StoreBusy, match="lost"):
            await lock.check()
    assert await store.client.run("GET", key) == b"rebuild:other"
