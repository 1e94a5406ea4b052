"""The store dies, hangs, fills up: an acknowledged event is there, once; nothing else is claimed."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from configs.event_types import load_event_types
from configs.settings import Store
from features.recording.event import Event, EventResult
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.redis.connection import connect, durability
from features.redis.errors import StoreError, StoreFull, StoreUnavailable
from features.redis.layout import keys_of
from features.users.history import decode_history
from tests.features.servers import DURABLE, Server, redis_binary, valkey_binary

pytestmark = pytest.mark.anyio
LIMITS = Store(partitions=4, timeout_s=0.5)


@pytest.fixture(params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, tmp_path: Path):  # type: ignore[no-untyped-def]
    binary = valkey_binary() if request.param == "valkey" else redis_binary()
    running = Server(binary, tmp_path)
    yield running
    running.stop()


@pytest.fixture
async def store(server: Server) -> AsyncIterator[OnlineStore]:
    client = connect(LIMITS, server.url)
    yield OnlineStore(client, keys_of(LIMITS), LIMITS, load_event_types())
    await client.aclose()


def event(number: int, user: str = "u") -> Event:
    return Event(f"e{number}", user, f"i{number % 50}", "click", 1_790_000_000_000 + number, context={"n": number})


async def test_after_sigkill_every_acknowledged_event_is_there_once(server: Server, store: OnlineStore) -> None:
    """Writers go on through three kills, repeating what was not answered with the same event id."""
    acknowledged: dict[str, EventResult] = {}
    failures = 0
    stop = False

    async def write(writer: int) -> None:
        nonlocal failures
        number = writer * 1_000_000
        while not stop:
            number += 1
            batch = [event(number * 10 + part, f"u{number % 7}") for part in range(random.choice((1, 1, 10)))]
            while True:
                try:
                    results = await store.record_events(batch)
                except StoreUnavailable:
                    failures += 1
                    await asyncio.sleep(0.02)
                    continue
                break
            for sent, result in zip(batch, results, strict=True):
                assert isinstance(result, EventResult)
                acknowledged[sent.event_id] = result

    writers = [asyncio.create_task(write(writer)) for writer in range(8)]
    for _ in range(3):
        await _more_than(acknowledged, 150)
        server.kill()
        refused = failures
        async with asyncio.timeout(30):
            while failures == refused:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        server.start()
    await _more_than(acknowledged, 50)
    stop = True
    await asyncio.gather(*writers)
    assert failures > 0
    streamed: Counter[str] = Counter()
    ids: dict[str, str] = {}
    for partition in range(LIMITS.partitions):
        for entry_id, fields in await store.client.run("XRANGE", store.keys.events(partition), "-", "+"):
            event_id = orjson.loads(fields[b"e"])["event_id"]
            streamed[event_id] += 1
            ids[event_id] = entry_id.decode()
    assert set(streamed) == set(acknowledged)
    assert set(streamed.values()) == {1}
    assert ids == {event_id: result.stream_id for event_id, result in acknowledged.items()}
    users = await store.read_users([f"u{number}" for number in range(7)])
    assert sum(user.counters(store.event_types)["click"] for user in users) == len(acknowledged)
    assert all(
        len(decode_history(user.history)) == min(500, user.counters(store.event_types)["click"]) for user in users
    )


async def _more_than(acknowledged: dict[str, EventResult], count: int) -> None:
    """Wait until so many more are acknowledged."""
    goal = len(acknowledged) + count
    async with asyncio.timeout(30):
        while len(acknowledged) < goal:  # noqa: ASYNC110 - the writers know nothing of this test's goals
            await asyncio.sleep(0.005)


async def test_a_full_store_says_so_and_writes_nothing(server: Server, store: OnlineStore) -> None:
    await store.record_events([event(1)])
    before = await store.client.run("XLEN", store.keys.events(store.keys.partition_of("u")))
    await store.client.run("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreFull, match="full"):
        await store.record_events([event(2)])
    with pytest.raises(StoreFull):
        await store.record_events([event(n) for n in range(2, 20)])
    with pytest.raises(StoreFull):
        await store.log_exposures([Exposure("r", "u", 1, None, None, None, ("i",))])
    (user,) = await store.read_users(["u"])  # reading goes on
    assert user.counters(store.event_types) == {"click": 1}
    assert len(decode_history(user.history)) == 1
    (again,) = await store.record_events([event(1)])
    assert again.duplicate  # a retry of what was recorded is answered, full or not
    await store.client.run("CONFIG", "SET", "maxmemory", "0")
    (late,) = await store.record_events([event(2)])
    assert not late.duplicate
    assert await store.client.run("XLEN", store.keys.events(store.keys.partition_of("u"))) == before + 1


async def test_a_store_that_is_down_is_told_in_time_and_comes_back_without_restart(
    server: Server, store: OnlineStore
) -> None:
    await store.record_events([event(1)])
    server.kill()
    for call in (
        store.record_events([event(2)]),
        store.read_users(["u"]),
        store.log_exposures([Exposure("r", "u", 1, None, None, None, ("i",))]),
    ):
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await call
        assert time.monotonic() - started < LIMITS.timeout_s + 0.5
    server.start()
    first, second = await store.record_events([event(1), event(2)])
    assert (first.duplicate, second.duplicate) == (True, False)


async def test_a_timeout_leaves_the_outcome_open_and_the_retry_counts_once(server: Server, store: OnlineStore) -> None:
    """The server takes the event but answers too late."""
    await store.record_events([event(1)])
    server.pause()
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await store.record_events([event(2)])
    assert time.monotonic() - started < LIMITS.timeout_s + 0.5
    server.resume()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:  # until the late write shows
        (user,) = await store.read_users(["u"])
        if user.counters(store.event_types)["click"] == 2:
            break
    (again,) = await store.record_events([event(2)])
    assert again.duplicate
    (user,) = await store.read_users(["u"])
    assert user.counters(store.event_types) == {"click": 2}


async def test_a_store_that_was_never_there_is_unavailable() -> None:
    client = connect(LIMITS, "redis://127.0.0.1:9/0")
    store = OnlineStore(client, keys_of(LIMITS), LIMITS, load_event_types())
    with pytest.raises(StoreUnavailable):
        await store.read_users(["u"])
    await client.aclose()


async def test_durability_is_told_as_it_is(server: Server, store: OnlineStore) -> None:
    state = await durability(store.client)
    assert state.durable is True
    assert state.evicts is False
    await store.client.run("CONFIG", "SET", "appendfsync", "everysec")
    state = await durability(store.client)
    assert state.durable is False
    assert "everysec" in state.reason
    await store.client.run("CONFIG", "SET", "appendfsync", "always")
    await store.client.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert (await durability(store.client)).evicts is True
    await store.client.run("CONFIG", "SET", "appendonly", "no")
    assert "appendonly" in (await durability(store.client)).reason


def test_the_tests_run_on_a_server_that_syncs_every_write() -> None:
    assert "always" in DURABLE


async def test_a_cancelled_call_leaves_no_answer_for_the_next_one(server: Server, store: OnlineStore) -> None:
    await store.record_events([event(n, f"u{n}") for n in range(20)])
    moments = random.Random(0)
    for _ in range(30):
        task = asyncio.create_task(store.read_users([f"u{n}" for n in range(20)]))
        await asyncio.wait([task], timeout=moments.random() * 0.002)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for n, user in enumerate(await store.read_users([f"u{n}" for n in range(20)])):
            assert decode_history(user.history).item_ids == [f"i{n}".encode()]


async def test_nothing_but_store_errors_leaks(store: OnlineStore) -> None:
    await store.prepare()
    await store.client.run("SET", store.keys.user("u"), "text")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        await store.read_users(["u"])


async def test_a_connection_that_breaks_after_the_write_is_tried_once_more_and_counts_once(
    server: Server, store: OnlineStore
) -> None:
    """Something between us and the server hands the write on and drops the answer."""
    await store.prepare()
    dropped = 0
    dropping = False

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dropped
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            while request := await reader.read(65_536):
                up_writer.write(request)
                answer = await up_reader.read(65_536)
                if dropping and b"EVALSHA" in request and b"NOSCRIPT" not in answer and dropped < 1:
                    dropped += 1
                    return
                writer.write(answer)
        finally:
            for one in (writer, up_writer):
                one.close()
                await asyncio.gather(one.wait_closed(), return_exceptions=True)

    await store.record_events([event(1)])  # both scripts are known from here on
    async with await asyncio.start_server(relay, "127.0.0.1", 0) as between:
        client = connect(LIMITS, f"redis://127.0.0.1:{between.sockets[0].getsockname()[1]}/0")
        behind = OnlineStore(client, keys_of(LIMITS), LIMITS, load_event_types())
        await behind.prepare()
        dropping = True
        (result,) = await behind.record_events([event(2)])
        await client.aclose()
    assert dropped == 1
    assert result.duplicate  # the first try had done it
    (user,) = await store.read_users(["u"])
    assert user.counters(store.event_types) == {"click": 2}
