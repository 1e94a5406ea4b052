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
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.errors import StoreFull
from features.redis.keys import Keys
from features.redis.lock import maintenance
from features.streams.drain import drain
from features.telemetry.quality_sums import read_quality
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
