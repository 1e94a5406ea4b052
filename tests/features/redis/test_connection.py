import asyncio

import pytest
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from configs.settings import Store
from features.recording.online_store import OnlineStore
from features.redis.connection import connect, durability
from features.redis.errors import StoreError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://localhost:6379/0", Redis),
        ("rediss://user:secret@example.org:6380/2", Redis),
        ("redis+cluster://localhost:7000", RedisCluster),
        ("redis://localhost:7000?cluster=true", RedisCluster),
        ("redis://localhost:7000/0?cluster=false", Redis),
    ],
)
async def test_the_address_says_whether_it_is_a_cluster(url: str, kind: type) -> None:
    client = connect(Store(), url)
    assert type(client.raw) is kind
    await client.aclose()


async def test_a_pipeline_tells_each_commands_failure_apart(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    await client.run("SET", keys.meta, "text")
    answers = await client.pipeline([("GET", keys.meta), ("HGETALL", keys.meta), ("GET", keys.slots)])
    assert answers[0] == b"text"
    assert isinstance(answers[1], Exception)
    assert answers[2] is None
    with pytest.raises(StoreError, match="WRONGTYPE"):
        await client.read([("GET", keys.meta), ("HGETALL", keys.meta)])


async def test_whoever_is_cancelled_while_asking_ends(store: OnlineStore) -> None:
    """Regression: Python's `wait_for` lost a cancellation that came while a command was just written."""
    client, keys = store.client, store.keys
    await client.run("GET", keys.meta)

    async def asks(passes: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()

        def later(left: int) -> None:
            loop.call_soon(later, left - 1) if left else task.cancel()

        later(passes)
        await (client.run("GET", keys.meta) if passes % 2 else client.run_on(keys.meta, "TIME"))
        await asyncio.sleep(5)

    ended = await asyncio.gather(
        *(asyncio.create_task(asks(passes)) for passes in range(1, 13)), return_exceptions=True
    )
    assert [type(one) for one in ended] == [asyncio.CancelledError] * 12


async def test_scan_finds_the_keys_of_every_node(store: OnlineStore) -> None:
    wanted = {store.keys.user(f"u{number}").encode() for number in range(50)}
    for key in wanted:
        await store.client.run("SET", key, "1")
    assert {key async for key in store.client.scan(store.keys.pattern("u"))} == wanted


async def test_durability_of_every_backend(store: OnlineStore) -> None:
    state = await durability(store.client)
    assert state.server.split()[0] in ("Valkey", "Redis")
    is_cluster = isinstance(store.client.raw, RedisCluster)
    assert state.durable is not is_cluster  # the tests' cluster runs without append-only files
