import asyncio
import time

import pytest

from features.recording.online_store import OnlineStore
from features.redis.errors import StoreBusy
from features.redis.lock import exclusive, maintenance

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


async def test_a_dead_holders_lock_is_waited_for_and_a_living_ones_is_told_of(store: OnlineStore) -> None:
    key = store.keys.lock("retraining")
    await store.client.run("SET", key, "a job:dead", "PX", 1500)
    async with exclusive(store.client, key, "another", "{} has it", ttl_s=1.5, outlive_dead=True) as lock:
        await lock.check()  # and by its renewing shows that it lives
        with pytest.raises(StoreBusy, match="another has it"):
            async with exclusive(store.client, key, "a third", "{} has it", ttl_s=1.5, outlive_dead=True):
                pass


async def test_of_two_that_wait_for_a_dead_holder_one_goes_on(store: OnlineStore) -> None:
    key = store.keys.lock("retraining")
    await store.client.run("SET", key, "a job:dead", "PX", 800)
    first, never = asyncio.Event(), asyncio.Event()

    async def hold() -> str:
        try:
            async with exclusive(store.client, key, "one", "{} has it", ttl_s=1.5, outlive_dead=True):
                first.set()
                await never.wait()
        except StoreBusy as error:
            return str(error)
        return "held"

    tasks = [asyncio.create_task(hold()) for _ in range(2)]
    await asyncio.wait_for(first.wait(), 10)
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == ["one has it"]
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


async def test_who_gives_up_while_asking_leaves_no_lock(store: OnlineStore) -> None:
    """The lock that was asked for a moment before must not be taken after it was given back."""

    async def hold() -> None:
        async with maintenance(store.client, store.keys, "compaction"):
            await asyncio.sleep(60)

    for number in range(300):
        asking = asyncio.create_task(hold())
        for _ in range(number % 15):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    for _ in range(20):  # what was sent before arrives
        assert not await store.client.run("EXISTS", store.keys.lock("maintenance"))
        await asyncio.sleep(0.005)
