"""A cluster of three with a copy each: a primary is killed, and slots move, under a stream of events.

Senders do what the HTTP answers tell them:
what was not acknowledged is sent again under the same id.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from configs.event_types import load_event_types
from configs.settings import SettingsError, Store, load_settings
from data.event_log import EventLog
from features.recording.event import Event, EventResult
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.errors import StoreError, StoreUnavailable
from features.redis.layout import keys_of
from features.redis.lock import maintenance
from features.streams.drain import drain, read_entries
from tests.features.servers import DURABLE, Server, cluster_servers, cluster_url, redis_binary, valkey_binary
from tests.waiting import wait_for

pytestmark = pytest.mark.anyio
PATIENCE_S = 40.0
LIMITS = Store(url="redis://outside", partitions=4, timeout_s=1.0, copies=1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    folder = tmp_path_factory.mktemp("cluster")
    with cluster_servers(valkey_binary(), folder, 3, DURABLE, copies=1, node_timeout_ms=1000) as servers:
        yield servers


@pytest.fixture
def servers(running: list[Server]) -> list[Server]:
    """The cluster, empty, each primary with its copy."""
    wait_for(lambda: all(in_step(server) for server in running), PATIENCE_S)
    for server in primaries(running):
        ask(server, "FLUSHALL")
    return running


def in_step(server: Server) -> bool:
    """Whether a copy follows its primary, or a primary has a copy that does."""
    with redis.Redis(port=server.port, socket_timeout=5) as client:
        told = client.info("replication")
    return told.get("master_link_status") == "up" or told.get("slave0", {}).get("state") == "online"


@asynccontextmanager
async def opened(url: str, limits: Store = LIMITS) -> AsyncIterator[OnlineStore]:
    client = connect(limits, url)
    try:
        yield OnlineStore(client, keys_of(limits), limits, load_event_types("movies"))
    finally:
        await client.aclose()


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_for, condition, PATIENCE_S)


async def record(store: OnlineStore, event: Event) -> EventResult | StoreError:
    try:
        return (await store.record_events([event]))[0]
    except StoreUnavailable as error:
        return error


@dataclass
class Load:
    """Senders of events of their own users; each repeats an event until it is acknowledged."""

    store: OnlineStore
    acknowledged: list[Event] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    ending: bool = False

    async def send(self, sender: int) -> None:
        number = 0
        while not self.ending:
            user = f"u{sender}-{number % 7}"
            event = Event(f"{sender}-{number}", user, f"i{number % 50}", "view", 1_700_000_000_000 + number)
            await self._until_acknowledged(event)
            number += 1

    async def _until_acknowledged(self, event: Event) -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            found = await record(self.store, event)
            if not isinstance(found, StoreError):
                self.acknowledged.append(event)
                return
            assert isinstance(found, StoreUnavailable), repr(found)
            self.refused[str(found)] += 1
            assert asyncio.get_running_loop().time() < deadline, self.refused
            await asyncio.sleep(0.01)

    async def reaches(self, events: int) -> None:
        """Return when so many events more are acknowledged."""
        goal = len(self.acknowledged) + events
        await until(lambda: len(self.acknowledged) >= goal)


@asynccontextmanager
async def under_load(store: OnlineStore, senders: int = 8) -> AsyncIterator[Load]:
    load = Load(store)
    async with asyncio.TaskGroup() as group:
        for sender in range(senders):
            group.create_task(load.send(sender))
        await load.reaches(200)
        yield load
        load.ending = True


async def logged(store: OnlineStore) -> Counter[tuple[str, str]]:
    """How often each event stands in the streams."""
    found: Counter[tuple[str, str]] = Counter()
    for partition in range(store.keys.partitions):
        for _, packed in await read_entries(store.client, store.keys.events(partition), "-", "+", 1_000_000):
            row = orjson.loads(packed)
            found[row["user_id"], row["event_id"]] += 1
    return found


async def check_once(store: OnlineStore, load: Load) -> None:
    """Every acknowledged event is in its stream and in its user's counts, once."""
    sent = Counter((event.user_id, event.event_id) for event in load.acknowledged)
    assert await logged(store) == sent
    of_user = Counter(event.user_id for event in load.acknowledged)
    found = await store.read_users(list(of_user))
    assert [user.counters(store.event_types) for user in found] == [{"view": n} for n in of_user.values()]


def ask(server: Server, *command: Any) -> Any:
    with redis.Redis(port=server.port, socket_timeout=5) as client:
        return client.execute_command(*command)


def port_of(server: Server, slot: int) -> int:
    """Port of the server that holds a slot, as `server` sees it."""
    for first, last, (_, port, *_), *_ in ask(server, "CLUSTER SLOTS"):
        if first <= slot <= last:
            return int(port)
    raise LookupError(slot)


def primaries(servers: list[Server]) -> list[Server]:
    ports = {entry[2][1] for entry in ask(servers[0], "CLUSTER SLOTS")}
    return [server for server in servers if server.port in ports]


def slot_and_holder(servers: list[Server], store: OnlineStore, partition: int = 0) -> tuple[int, Server]:
    slot = ask(servers[0], "CLUSTER KEYSLOT", store.keys.events(partition))
    port = port_of(servers[0], slot)
    return slot, next(server for server in servers if server.port == port)


async def test_no_acknowledged_event_is_lost_when_a_primary_is_killed(servers: list[Server]) -> None:
    url = cluster_url(servers)
    async with opened(url) as store, opened(url) as idle:
        slot, killed = slot_and_holder(servers, store)
        other = next(server for server in servers if server is not killed)
        await idle.client.run("SET", f"{store.keys.events(0)}:x", "1")
        async with under_load(store) as load:
            killed.kill()
            await until(lambda: port_of(other, slot) != killed.port)
            # redis-py keeps a dead server's error as an answer: asked again, it asked the dead one for ever.
            assert await idle.client.run("GET", f"{store.keys.events(0)}:x") == b"1"
            # The copy that took over has no copy of its own until the dead one is back, as its copy.
            await until(lambda: any("0 of 1 copies" in words for words in load.refused))
            killed.start()
            await load.reaches(400)
        await check_once(store, load)


def begin_to_move(slot: int, source: Server, target: Server) -> None:
    """The state in which `redis-cli --cluster reshard` carries a slot's keys over."""
    ask(target, "CLUSTER SETSLOT", slot, "IMPORTING", ask(source, "CLUSTER MYID").decode())
    ask(source, "CLUSTER SETSLOT", slot, "MIGRATING", ask(target, "CLUSTER MYID").decode())


def carry_keys(slot: int, source: Server, target: Server) -> None:
    while keys := ask(source, "CLUSTER GETKEYSINSLOT", slot, 5):
        ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)


def end_of_move(slot: int, source: Server, target: Server) -> None:
    for server in (target, source):
        ask(server, "CLUSTER SETSLOT", slot, "NODE", ask(target, "CLUSTER MYID").decode())


async def move_by_keys(slot: int, source: Server, target: Server) -> None:
    begin_to_move(slot, source, target)
    await asyncio.to_thread(carry_keys, slot, source, target)
    end_of_move(slot, source, target)


async def move_at_once(slot: int, source: Server, target: Server) -> None:
    """As Valkey 9 does it."""
    ask(source, "CLUSTER MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", ask(target, "CLUSTER MYID").decode())


@pytest.mark.parametrize("move", [move_by_keys, move_at_once])
async def test_a_slot_moves_under_load_and_nothing_is_lost_or_repeated(
    servers: list[Server], move: Callable[[int, Server, Server], Awaitable[None]]
) -> None:
    async with opened(cluster_url(servers)) as store:
        slot, source = slot_and_holder(servers, store)
        target = next(server for server in primaries(servers) if server is not source)
        async with under_load(store) as load:
            await move(slot, source, target)
            await until(lambda: {port_of(server, slot) for server in servers} == {target.port})
            await load.reaches(400)
        await check_once(store, load)
        assert ask(target, "EXISTS", store.keys.events(0)) == 1


async def test_a_user_is_read_while_the_keys_are_on_their_way(servers: list[Server]) -> None:
    """And an event of that user, whose script needs all its keys on one side, is refused for the time, not halved."""
    async with opened(cluster_url(servers)) as store:
        user = next(name for name in map(str, range(100)) if store.keys.partition_of(name) == 0)
        first, second = (Event(name, user, "i", "view", 1_700_000_000_000) for name in ("first", "second"))
        await record(store, first)
        slot, source = slot_and_holder(servers, store)
        target = next(server for server in primaries(servers) if server is not source)
        begin_to_move(slot, source, target)
        carry_keys(slot, source, target)
        (found,) = await store.read_users([user])
        assert found.counters(store.event_types) == {"view": 1}
        assert isinstance(await record(store, second), StoreUnavailable)
        end_of_move(slot, source, target)
        assert not isinstance(await record(store, second), StoreError)
        assert await logged(store) == {(user, "first"): 1, (user, "second"): 1}


async def test_events_of_a_slot_on_its_way_put_nothing_in_the_way_of_its_keys(servers: list[Server]) -> None:
    """The mark behind a confirmed write is a key too: made anew where the slot moves to, it would stop the move."""
    async with opened(cluster_url(servers)) as store:
        user = next(name for name in map(str, range(100)) if store.keys.partition_of(name) == 0)
        first, second = (Event(name, user, "i", "view", 1_700_000_000_000) for name in ("first", "second"))
        await record(store, first)
        slot, source = slot_and_holder(servers, store)
        target = next(server for server in primaries(servers) if server is not source)
        begin_to_move(slot, source, target)
        mark = store.keys.confirmed(0)
        others = [key for key in ask(source, "CLUSTER GETKEYSINSLOT", slot, 100) if key != mark]
        ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *others)
        for event in (first, second):
            assert isinstance(await record(store, event), StoreUnavailable)
        assert set(ask(target, "CLUSTER GETKEYSINSLOT", slot, 100)) == set(others)
        carry_keys(slot, source, target)
        end_of_move(slot, source, target)
        assert not isinstance(await record(store, second), StoreError)
        assert await logged(store) == {(user, "first"): 1, (user, "second"): 1}


async def test_what_no_copy_has_is_not_acknowledged_nor_compacted(servers: list[Server], tmp_path: Path) -> None:
    """And its repeat neither, which comes by another connection, finds the event there and writes nothing."""
    event = Event("e", "u", "i", "view", 1_700_000_000_000)
    brief = LIMITS.model_copy(update={"timeout_s": 0.5})
    async with opened(cluster_url(servers), brief) as store:
        await store.record_events([Event("before", "u", "i", "view", 1_700_000_000_000)])
        copies = [server for server in servers if server not in primaries(servers)]
        for copy in copies:
            copy.pause()
        assert "0 of 1 copies" in str(await record(store, event))
        async with opened(cluster_url(servers), brief) as another:
            assert "0 of 1 copies" in str(await record(another, event))
        async with maintenance(store.client, store.keys, "test") as lock:
            with pytest.raises(StoreUnavailable, match="0 of 1 copies"):
                await drain(store.client, store.keys, EventLog(tmp_path / "log"), lock)
            for copy in copies:
                copy.resume()
            found = await record(store, event)
            assert not isinstance(found, StoreError)
            assert found.duplicate
            assert (await drain(store.client, store.keys, EventLog(tmp_path / "log"), lock)).events == 2


async def test_two_prefixes_on_one_cluster_do_not_meet(servers: list[Server]) -> None:
    event = Event("e", "u", "i", "view", 1_700_000_000_000)
    url = cluster_url(servers)
    async with opened(url) as ours, opened(url, LIMITS.model_copy(update={"prefix": "rc.two"})) as theirs:
        for store in (ours, theirs):
            found = await record(store, event)
            assert not isinstance(found, StoreError)
            assert not found.duplicate
            assert await logged(store) == {("u", "e"): 1}
            assert [key async for key in store.client.scan(store.keys.pattern("u"))] == [store.keys.user("u").encode()]


async def test_a_server_that_wants_copies_refuses_an_event_as_unavailable(tmp_path: Path) -> None:
    """`min-replicas-to-write` refuses before anything is written, so the sender repeats it."""
    server = Server(valkey_binary(), tmp_path / "alone", (*DURABLE, "--min-replicas-to-write", "1"))
    try:
        async with opened(server.url) as store:
            with pytest.raises(StoreUnavailable, match="too few copies"):
                await store.record_events([Event("e", "u", "i", "view", 1_700_000_000_000)])
            assert ask(server, "DBSIZE") == 0
    finally:
        server.stop()


@pytest.mark.parametrize("binary", [valkey_binary, redis_binary])
async def test_one_server_with_a_copy_confirms_too(binary: Callable[[], str], tmp_path: Path) -> None:
    """A repeat comes by another connection, finds the event there and writes nothing: it is confirmed no sooner."""
    server = Server(binary(), tmp_path / "primary", (*DURABLE, "--repl-diskless-sync-delay", "0"))
    copy = Server(binary(), tmp_path / "copy", (*DURABLE, "--replicaof", f"127.0.0.1 {server.port}"))
    events = [Event(f"{number}", f"u{number}", "i", "view", 1_700_000_000_000) for number in range(20)]
    brief = LIMITS.model_copy(update={"timeout_s": 0.5})
    try:
        await until(lambda: in_step(copy))
        async with opened(server.url) as store:
            found = await asyncio.gather(*(store.record_events([event]) for event in events))
            assert not [one for one in found if isinstance(one[0], StoreError)]
            copy.pause()
            for _ in range(2):
                async with opened(server.url, brief) as another:
                    assert "0 of 1 copies" in str(await record(another, Event("lost", "u", "i", "view", 0)))
            server.kill()
        copy.resume()
        ask(copy, "REPLICAOF", "NO", "ONE")
        async with opened(copy.url, LIMITS.model_copy(update={"copies": 0})) as store:
            assert set(await logged(store)) >= {(event.user_id, event.event_id) for event in events}
    finally:
        copy.stop()
        server.stop()


def test_the_store_of_the_stack_itself_has_no_copies() -> None:
    with pytest.raises(SettingsError, match=r"store.*copies is 1.*has none"):
        load_settings(store={"copies": 1})
    assert load_settings(store={"copies": 1, "url": "redis://10.0.0.9:6379"}).store.copies == 1
