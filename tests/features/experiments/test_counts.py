"""What the scripts count as events arrive, against the same rule in plain Python over the log."""

import random
from pathlib import Path

import pytest

from configs import clock
from configs.settings import Store
from data.event_log import EventLog
from data.log_tables import entry_row
from experiments.user_totals import QUANTITIES, STATISTICS, UserTotals, variant_sums
from features.experiments.counts import pack_totals, read_sums, rule_of, write_ends
from features.experiments.experiment import Experiment, Variant
from features.experiments.recount import PartitionReplay
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.recovery.rebuild import rebuild
from features.redis.lock import maintenance
from features.streams.drain import drain, read_entries
from features.users.erasure import Erasures, erase_user
from tests.features.conftest import open_store
from tests.features.server_clock import next_millisecond, server_ms, until_after

pytestmark = pytest.mark.anyio
VARIANTS = ["a", "b.1"]
KINDS = [
    ("view", None), ("click", None), ("like", None), ("dislike", None), ("rating", 4.3), ("rating", 1.0),
    ("rating", 5.0), ("purchase", None), ("complete", None), ("watch", 30.0), ("search", None),
]  # fmt: skip


@pytest.fixture
def limits() -> Store:
    """A short memory, so that random traffic reaches every limit."""
    return Store(
        partitions=2,
        attribution_lists=3,
        counted_lists=15,
        session_gap_s=1,
        history_limit=50,
        seen_limit=20,
        timeout_s=10,
    )


class Traffic:
    """Random lists and events of a few users, some of them odd."""

    def __init__(self, store: OnlineStore, seed: int) -> None:
        self.store = store
        self.random = random.Random(seed)
        self.shown: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        self.now_ms = clock.now_ms()
        self.number = self.retries = 0

    async def step(self) -> None:
        # No two steps in one millisecond: nobody answers a list that fast, and the log knows no order within one
        await next_millisecond(self.store)
        pick = self.random
        user = f"u{pick.randrange(12)}"
        self.number += 1
        if pick.random() < 0.35:
            experiment = pick.choice(["e1", "e1", "e1", "e2", None])
            # Now and then the other variant: such a user must fall out of the sums
            second = (int(user[1:]) % 2) ^ (pick.random() < 0.02)
            items = tuple(f"i {n}" for n in pick.sample(range(30), pick.choice([1, 10, 15])))
            recommendation_id = f"r{self.number}"
            self.shown.setdefault(user, []).append((recommendation_id, items))
            await self.store.log_exposures(
                [
                    Exposure(
                        recommendation_id, user, self.now_ms, "v", VARIANTS[second], experiment, items,
                        simulated=user == "u3", forced=pick.random() < 0.05, before=int(user[1:]) * 3,
                    )
                ]
            )  # fmt: skip
            return
        kind, value = pick.choice(KINDS)
        listed, items = pick.choice(self.shown.get(user, [("r 1", ("i 0",))])[-4:])
        named = pick.choice([listed, listed, None, "r 1"])
        item = pick.choice(items) if pick.random() < 0.7 else f"i {pick.randrange(30)}"
        # Clients' clocks: often long before any list, so that only an event that names its list counts
        said_ms = self.now_ms - pick.choice([0, 10**11])
        event = Event(f"e{self.number}", user, item, kind, said_ms, value, recommendation_id=named)
        (result,) = await self.store.record_events([event])
        if pick.random() < 0.1:
            self.retries += 1
            (retry,) = await self.store.record_events([event])
            assert (retry.duplicate, retry.stream_id) == (True, result.stream_id)


async def recomputed(store: OnlineStore, log: EventLog, ends: dict[str, int]) -> dict[str, UserTotals]:
    """`user|experiment` -> totals, from log and streams by the rule in Python."""
    found: dict[str, UserTotals] = {}
    for partition in range(store.keys.partitions):
        replay = PartitionReplay(store, rule_of(store.limits), ends, Erasures({}))
        streams = {"exposures": store.keys.exposures(partition), "events": store.keys.events(partition)}
        for kind, stream in streams.items():
            for table in log.tables(kind, partition):  # type: ignore[arg-type]
                replay.add(kind, table.to_pylist())  # type: ignore[arg-type]
            entries = await read_entries(store.client, stream, "-", "+", 100_000)
            replay.add(kind, [entry_row(kind, entry, partition) for entry in entries])  # type: ignore[arg-type]
        for user, counted in replay.users().items():
            found |= {f"{user}|{experiment}": totals for experiment, totals in counted.totals.items()}
    return found


async def counted(store: OnlineStore) -> dict[str, str]:
    """`user|experiment` -> totals as the scripts left them."""
    found = {}
    async for key in store.client.scan(store.keys.pattern("x")):
        for name, value in (await store.client.run("HGETALL", key)).items():
            if name.startswith(b"t:"):
                found[f"{key.decode().rpartition(':')[2]}|{name.decode()[2:]}"] = value.decode()
    return found


async def check(store: OnlineStore, log: EventLog, ends: dict[str, int]) -> dict[str, UserTotals]:
    """The store's totals and sums are those of the log, exactly."""
    expected = await recomputed(store, log, ends)
    assert await counted(store) == {name: pack_totals(totals) for name, totals in expected.items()}
    for experiment in ("e1", "e2"):
        mine = [totals for name, totals in expected.items() if name.endswith(f"|{experiment}")]
        wanted = variant_sums(mine)
        sums = await read_sums(store.client, store.keys, experiment, VARIANTS)
        for variant in VARIANTS:
            assert {name: value for name, value in sums[variant].items() if value} == wanted.get(variant, {})
            assert set(sums[variant]) == set(STATISTICS)
    return expected


async def test_sums_equal_a_recomputation_from_the_log_through_everything(store: OnlineStore, tmp_path: Path) -> None:
    """Random traffic, retries, a stop, a compaction, an erasure and a rebuild: never a difference of 1."""
    log = EventLog(tmp_path)
    traffic = Traffic(store, seed=5)
    for _ in range(400):
        await traffic.step()
    pause_over = await server_ms(store) + store.limits.session_gap_s * 1000 + 1
    await until_after(store, pause_over)
    for _ in range(400):
        await traffic.step()
    before = await check(store, log, {})
    assert traffic.retries > 20
    assert any(totals.mixed for totals in before.values())
    for name in QUANTITIES:
        assert sum(totals.quantities()[name] for totals in before.values()) > 0, name
    assert max(totals.lists for totals in before.values()) == store.limits.counted_lists

    async with maintenance(store.client, store.keys, "compaction") as lock:
        await drain(store.client, store.keys, log, lock)
    for _ in range(100):
        await traffic.step()
    await check(store, log, {})

    ends = {"e1": await server_ms(store)}
    await write_ends(store.client, store.keys, ends)
    variants = [Variant(name=name, weight=0.5, slot="champion") for name in VARIANTS]
    stopped_one = Experiment(
        id="e1", hypothesis="h", variants=variants, seed="e1", status="stopped", created_ms=0, ended_ms=ends["e1"]
    )
    await store.client.run("HSET", store.keys.experiments, "e1", stopped_one.model_dump_json())
    await write_ends(store.client, store.keys, {"e1": ends["e1"] + 10**6})  # the first end holds
    stopped = {name: totals for name, totals in (await counted(store)).items() if name.endswith("|e1")}
    for _ in range(200):
        await traffic.step()
    assert {name: totals for name, totals in (await counted(store)).items() if name.endswith("|e1")} == stopped
    await check(store, log, ends)

    await erase_user(store, log, "u5")
    assert not [name for name in await counted(store) if name.startswith("u5|")]
    await check(store, log, ends)

    states = await counted(store)
    async with maintenance(store.client, store.keys, "rebuild") as lock:
        await rebuild(store, log, None, lock)
    assert await counted(store) == states
    await check(store, log, ends)
    for _ in range(100):
        await traffic.step()  # and the scripts go on from what the rebuild wrote
    await check(store, log, ends)


async def test_an_event_without_a_list_and_a_wrong_clock_are_defined(valkey_store: OnlineStore) -> None:
    store = valkey_store

    def sent(number: int, said_ms: int, **fields: str) -> Event:
        return Event(f"e{number}", "u", fields.pop("item", "i1"), "like", said_ms, **fields)  # type: ignore[arg-type]

    async def sums() -> dict[str, int]:
        found = (await read_sums(store.client, store.keys, "e", ["a"]))["a"]
        return {name: found[name] for name in ("n", "lists", "clicked", "events", "precision")}

    now_ms = await server_ms(store)
    await store.record_events([sent(1, now_ms)])  # before any list: of no experiment
    assert await sums() == {"n": 0, "lists": 0, "clicked": 0, "events": 0, "precision": 0}
    await store.log_exposures([Exposure("r1", "u", now_ms, "v", "a", "e", ("i0", "i1"))])
    late = 10**10
    results = [
        (sent(2, now_ms - late), 0, 0),  # happened long before the list, says its clock
        (sent(3, now_ms - late, recommendation_id="elsewhere"), 0, 0),
        (sent(4, now_ms + 60_000, item="other"), 1, 0),  # on no list: activity, but nobody's merit
        (sent(5, now_ms - late, recommendation_id="r1"), 2, 1),  # names its list: the clock does not matter
        (sent(6, now_ms, recommendation_id="r1", item="other"), 3, 1),  # not on the list that it names
    ]
    await until_after(store, await server_ms(store) + 1)  # the list's own millisecond must be over
    for event, events, clicked in results:
        await store.record_events([event])
        found = await sums()
        assert (found["n"], found["lists"], found["events"], found["clicked"]) == (1, 1, events, clicked), event
    assert (await sums())["precision"] == 500  # a hit at the second of ten places


async def test_an_event_that_names_a_forced_list_counts_nowhere(valkey_store: OnlineStore, tmp_path: Path) -> None:
    """It raised the events of a user."""
    store = valkey_store

    async def moved() -> None:
        await next_millisecond(store)

    async def forced(name: str) -> None:
        await store.log_exposures([Exposure(name, "u", await server_ms(store), "v", "a", "e", ("i1",), forced=True)])
        await moved()

    async def sent(number: int, named: str | None) -> dict[str, int]:
        await store.record_events(
            [Event(f"e{number}", "u", "i1", "purchase", await server_ms(store), recommendation_id=named)]
        )
        await moved()
        found = (await read_sums(store.client, store.keys, "e", ["a"]))["a"]
        return {name: found[name] for name in ("lists", "clicked", "events", "converted")}

    await forced("f1")  # before the user is in any experiment
    await store.log_exposures([Exposure("r1", "u", await server_ms(store), "v", "a", "e", ("i1",))])
    await moved()
    await forced("f2")
    nothing = {"lists": 1, "clicked": 0, "events": 0, "converted": 0}
    assert [await sent(1, "f1"), await sent(2, "f2")] == [nothing, nothing]
    assert await sent(3, None) == {"lists": 1, "clicked": 1, "events": 1, "converted": 1}
    log = EventLog(tmp_path)
    lists = await store.client.run("HGET", store.keys.user_experiments("u"), "lists")
    async with maintenance(store.client, store.keys, "rebuild") as lock:
        await rebuild(store, log, None, lock)
    assert await store.client.run("HGET", store.keys.user_experiments("u"), "lists") == lists
    assert await sent(4, "f2") == {"lists": 1, "clicked": 1, "events": 1, "converted": 1}


async def test_a_rebuild_gives_idle_users_their_end_again(valkey_url: str, tmp_path: Path) -> None:
    store = await open_store(valkey_url, Store(idle_user_days=2))
    await store.log_exposures([Exposure("r1", "u", await server_ms(store), "v", "a", "e", ("i1",))])
    async with maintenance(store.client, store.keys, "rebuild") as lock:
        await rebuild(store, EventLog(tmp_path), None, lock)
    for key in (store.keys.user("u"), store.keys.user_experiments("u")):
        assert 0 < await store.client.run("TTL", key) <= 2 * 86_400
    await store.client.aclose()


async def test_of_a_robot_only_the_first_lists_count(valkey_store: OnlineStore) -> None:
    store, cap = valkey_store, valkey_store.limits.counted_lists
    for number in range(cap + 20):
        await store.log_exposures([Exposure(f"r{number}", "u", await server_ms(store), "v", "a", "e", ("i1", "i2"))])
        await next_millisecond(store)
        events = [
            Event(f"{kind}{number}", "u", "i1", kind, await server_ms(store), value, recommendation_id=f"r{number}")
            for kind, value in (("like", None), ("rating", 5.0))
        ]
        await store.record_events(events)
    found = (await read_sums(store.client, store.keys, "e", ["a"]))["a"]
    assert (found["lists"], found["clicked"], found["engaged"], found["rated"]) == (cap,) * 4
    assert (found["lists^2"], found["clicked*lists"]) == (cap * cap, cap * cap)
    assert found["ratings"] == cap * 5_000
    assert found["precision"] == cap * 1_000
    assert found["events"] == 2 * (cap + 20)
