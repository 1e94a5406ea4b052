"""What is judged is counted once the store has it, through restarts and errors; on a real store and its streams."""

import asyncio
import time
import uuid
from pathlib import Path

import pytest
import redis

from configs import clock
from configs.event_types import load_event_types
from configs.settings import Store
from data.event_log import EventLog
from deployments.autopilot.list_judge import ListJudge
from features.items.catalogue import Catalogue
from features.recording.event import Event, pack_event
from features.recording.exposure import Exposure, pack_exposure
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.errors import StoreFull
from features.redis.keys import Keys
from features.redis.lock import maintenance
from features.streams.drain import drain
from features.telemetry.quality_sums import read_quality
from tests.features.server_clock import next_millisecond
from tests.features.servers import Server

pytestmark = pytest.mark.anyio
WINDOW_S = 0.3


class Platform:
    def __init__(self, client: StoreClient, keys: Keys, settings: Store, log_dir: Path) -> None:
        self.client, self.keys, self.log = client, keys, EventLog(log_dir)
        self.types = load_event_types("movies")
        self.store = OnlineStore(client, keys, settings, self.types)

    def judge(self) -> ListJudge:
        """Another process, as after a restart."""
        return ListJudge(self.client, self.keys, self.log, self.types, Catalogue(self.client, self.keys), WINDOW_S)

    async def show(self, n: int) -> None:
        await self.store.log_exposures(
            [Exposure(uuid.uuid4().hex, f"u{place}", 1, "v1", "champion", None, ("a", "b")) for place in range(n)]
        )

    async def events(self, n: int, simulated: bool = False) -> None:
        now_ms = clock.now_ms()
        context = {"simulated": True} if simulated else None
        await self.store.record_events(
            [
                Event(uuid.uuid4().hex, f"u{place}", "a", "like", now_ms, received_ms=now_ms, context=context)
                for place in range(n)
            ]
        )

    async def lists(self) -> int:
        return sum(one.sums["lists"] for one in await read_quality(self.client, self.keys))


@pytest.fixture
async def platform(client: StoreClient, keys: Keys, store_settings: Store, tmp_path: Path) -> Platform:
    return Platform(client, keys, store_settings, tmp_path / "log")


async def look_until(judge: ListJudge, seen_lists: int) -> None:
    deadline = time.monotonic() + 20
    while judge.judged.came < seen_lists:
        assert time.monotonic() < deadline, judge.judged.came
        await judge.look()
        await asyncio.sleep(0.02)


async def test_a_list_that_closed_while_the_store_refused_is_counted_later_and_once(
    platform: Platform, server: Server
) -> None:
    judge = platform.judge()
    await judge.look()
    await platform.show(7)
    await platform.events(5)
    with redis.Redis(port=server.port) as admin:
        admin.config_set("maxmemory", 1_000_000)
        try:
            deadline = time.monotonic() + 3 * WINDOW_S
            while time.monotonic() < deadline:  # the lists close meanwhile
                with pytest.raises(StoreFull):
                    await judge.look()
                await asyncio.sleep(0.02)
        finally:
            admin.config_set("maxmemory", 0)
    assert (judge.judged.came, judge.events.came) == (0, 0)
    await look_until(judge, 7)
    await look_until(platform.judge(), 0)
    assert await platform.lists() == 7
    assert (judge.judged.came, judge.events.came, len(judge.events)) == (7, 5, 5)


async def test_simulated_events_stay_simulated_after_a_restart(platform: Platform) -> None:
    judge = platform.judge()
    await judge.look()
    await platform.events(30, simulated=True)
    await platform.events(4)
    await caught_up(judge, 30)
    restarted = platform.judge()
    await restarted.look()
    assert restarted.left_out_since(0) == 30
    # What came while nobody looked counts too, and nothing of it twice.
    await platform.events(20, simulated=True)
    later = platform.judge()
    await caught_up(later, 50)
    assert later.caught_up


async def test_simulated_events_from_before_the_first_look_are_known(platform: Platform) -> None:
    await platform.events(25, simulated=True)
    await platform.events(3)
    await caught_up(platform.judge(), 25)


async def test_what_a_compaction_took_away_is_forgotten(platform: Platform) -> None:
    judge = platform.judge()
    await judge.look()
    await platform.events(10, simulated=True)
    await caught_up(judge, 10)
    async with maintenance(platform.client, platform.keys, "a test") as lock:
        await drain(platform.client, platform.keys, platform.log, lock)
    now_ms = clock.now_ms() + 1000  # nothing waits: the oldest entry would come now
    assert judge.left_out_since(now_ms) == 0
    await platform.events(1)
    await judge.look()
    assert await platform.client.run("HKEYS", platform.keys.left_out) == [b"counted"]


async def caught_up(judge: ListJudge, left_out: int) -> None:
    deadline = time.monotonic() + 20
    while judge.left_out_since(0) != left_out:
        assert time.monotonic() < deadline, judge.left_out_since(0)
        await judge.look()
        await asyncio.sleep(0.02)


async def set_back(platform: Platform, by_ms: int = 3_600_000) -> None:
    """The server's clock is behind the numbers of its streams from now on, as after it was set back."""
    now_ms = int((await platform.client.run_on(platform.keys.meta, "TIME"))[0]) * 1000
    event = pack_event(Event("early", "early", "a", "view", now_ms, received_ms=now_ms))
    exposure = pack_exposure(Exposure("early", "early", now_ms, "v1", "champion", None, ("a",), forced=True))
    for partition in range(platform.keys.partitions):
        for key, packed in ((platform.keys.events(partition), event), (platform.keys.exposures(partition), exposure)):
            await platform.client.run("XADD", key, f"{now_ms + by_ms}-0", "e", packed)


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_store_whose_clock_was_set_back_goes_on_being_judged(platform: Platform, restarted: bool) -> None:
    """Regression: lists and events waited until the clock had passed where it was."""
    judge = platform.judge()
    await judge.look()
    await platform.show(3)
    await next_millisecond(platform.store)
    await platform.events(3)
    await look_until(judge, 3)
    assert sum(one.clicked for one in judge.judged) == 3
    await set_back(platform)
    if restarted:
        judge = platform.judge()
        await judge.look()
    before = judge.judged.came
    for round_ in range(1, 3):
        await platform.show(5)
        await platform.events(4)
        await look_until(judge, before + 5 * round_)
    fresh = judge.judged.since(before)
    assert (len(fresh), sum(one.clicked for one in fresh)) == (10, 8)
    assert await platform.lists() == 13
    assert judge.caught_up
    # And on with what another process has judged, from the log too.
    async with maintenance(platform.client, platform.keys, "a test") as lock:
        await drain(platform.client, platform.keys, platform.log, lock)
    later = platform.judge()
    await later.look()
    await platform.show(6)
    await look_until(later, 6)
    assert await platform.lists() == 19


async def test_simulated_events_are_known_while_the_clock_is_behind(platform: Platform) -> None:
    judge = platform.judge()
    await judge.look()
    await platform.events(3, simulated=True)
    await caught_up(judge, 3)
    await set_back(platform)
    await platform.events(30, simulated=True)
    await platform.events(4)
    await caught_up(judge, 33)
    await platform.events(5, simulated=True)
    await caught_up(platform.judge(), 38)
