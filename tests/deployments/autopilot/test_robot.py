"""400 users who are alike and one who makes 5,000 lists and events: what all others do decides."""

from pathlib import Path

import numpy as np
import pytest

from configs.event_types import load_event_types
from configs.settings import AutopilotLimits
from data.event_log import EventLog
from deployments.autopilot.drift_watch import DriftWatch, most_of_one_user
from deployments.autopilot.list_judge import ListJudge, LiveEvent
from deployments.operations.monitor_views import DriftView
from features.items.catalogue import Catalogue
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from models.monitoring.live_quality import JudgedList, LiveQuality, Shown, add_up

pytestmark = pytest.mark.anyio
LIMITS = AutopilotLimits()
ITEMS = [f"i{number}" for number in range(60)]
USERS, ROBOT = 400, 5_000
KNOWN_ITEMS = frozenset(ITEMS)


class Traffic:
    """Lists and events as the judge hands them to the watch."""

    def __init__(self, client: StoreClient, keys: Keys, log_dir: Path) -> None:
        types = load_event_types("movies")
        catalogue, most = Catalogue(client, keys), most_of_one_user(LIMITS.min_lists)
        self.live = ListJudge(client, keys, EventLog(log_dir), types, catalogue, 30.0, of_one_user=most)
        self.drift = DriftWatch(client, keys, LIMITS, self.live)
        self.generator = np.random.default_rng(11)

    def alike(self, liked: range, rate: float) -> None:
        """Two lists and two events of each of the users."""
        for user in self.generator.permutation(np.repeat(np.arange(USERS), 2)):
            self.one(f"u{user}", ITEMS[self.generator.choice(liked)], bool(self.generator.random() < rate))

    def robot(self, clicks: bool) -> None:
        for _ in range(ROBOT):
            self.one("robot", "made up", clicks)

    def one(self, user: str, item: str, clicked: bool) -> None:
        self.live.events.extend([LiveEvent(user, item, "like" if user != "robot" else "view", (item,), 0.01)])
        precision, taken = float(clicked) / 10, int(clicked)
        self.live.judged.extend([JudgedList(user, 0, "v1", (item,), clicked, clicked or None, precision, taken)])

    async def look(self) -> dict[str, DriftView]:
        return {view.name: view for view in await self.drift.look()}


@pytest.fixture
async def traffic(client: StoreClient, keys: Keys, tmp_path: Path) -> Traffic:
    found = Traffic(client, keys, tmp_path)
    await found.drift.follow("v1", frozenset(f"u{user}" for user in range(USERS)), KNOWN_ITEMS)
    found.alike(range(20), 0.3)
    await found.look()
    return found


@pytest.mark.parametrize("clicks", [False, True])
async def test_a_robot_moves_no_measure(traffic: Traffic, clicks: bool) -> None:
    traffic.alike(range(20), 0.3)
    for _ in range(3):
        traffic.robot(clicks)
        found = await traffic.look()
        assert {name for name, view in found.items() if view.drifted} == set()
        # Regression: it filled the window, which then said nothing of the others.
        assert {name for name, view in found.items() if view.drifted is None} == set()
    traffic.alike(range(20), 0.3)
    assert {name for name, view in (await traffic.look()).items() if view.drifted is not False} == set()


async def test_a_robot_hides_nothing(traffic: Traffic) -> None:
    for _ in range(3):
        traffic.alike(range(40, 60), 0.05)
        traffic.robot(clicks=True)
        found = await traffic.look()
    assert {"items", "categories", "click_rate", "map_at_10"} <= {name for name, view in found.items() if view.drifted}


async def test_a_robot_alone_fills_no_window(client: StoreClient, keys: Keys, tmp_path: Path) -> None:
    traffic = Traffic(client, keys, tmp_path)
    await traffic.drift.follow("v1", frozenset(), KNOWN_ITEMS)
    traffic.robot(clicks=True)
    found = await traffic.look()
    assert all(view.value is None for view in found.values())
    assert "10 of 500 events and 10 of 500 judged lists, of one user at most 10 of each" in found["items"].detail


@pytest.mark.parametrize("clicks", [False, True])
def test_a_robot_does_not_make_the_numbers_of_a_day(clicks: bool) -> None:
    """One list of each of the others, of which three in ten are clicked; the store keeps sums over lists."""
    live = LiveQuality(1_000)
    for number in range(ROBOT):
        live.show(Shown(f"robot {number}", "robot", number, "v1", ("a",)))
        if clicks:
            live.take_up("robot", "a", number, f"robot {number}")
    for user in range(USERS):
        live.show(Shown(f"list {user}", f"u{user}", ROBOT + user, "v1", ("a",)))
        if user % 10 < 3:
            live.take_up(f"u{user}", "a", ROBOT + user, f"list {user}")
    (sums,) = add_up(live.close(2 * ROBOT), {}).values()
    for name, of, scale in (("clicked", "lists", 1), ("average_precision", "ranked", 100_000)):
        assert sums[name] / sums[of] == pytest.approx(0.3 * scale, rel=0.06)
