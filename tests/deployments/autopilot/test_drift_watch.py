"""From lists and events in a real store to drift: what changes is flagged, what does not stays quiet."""

import re
import uuid
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from configs import clock
from configs.event_types import load_event_types
from configs.settings import AutopilotLimits, Store
from data.event_log import EventLog
from deployments.autopilot.drift_watch import (
    MEASURED,
    DriftWatch,
    binary_sums,
    click_sums,
    precision_sums,
    reference_of,
    rise,
)
from deployments.autopilot.list_judge import ListJudge
from experiments.statistics.performance import change_since
from experiments.statistics.sums import PairSums
from features.items.catalogue import Catalogue, Item, put_items
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.telemetry.quality_sums import read_quality
from models.monitoring.live_quality import JudgedList
from tests.features.server_clock import next_millisecond

pytestmark = pytest.mark.anyio
ITEMS = [f"i{number}" for number in range(60)]
WINDOW_S = 60.0
WINDOW_MS = int(WINDOW_S * 1000)
ID = re.compile(r"\d{6,}")  # the time in the number of an entry
VISITS = 30
SIZE = 6 * VISITS
"""A window of lists and one of events are whole rounds of visits: which of them a window holds is no chance."""


class JudgesClock(StoreClient):
    """The store as the judges read it. Their time, by which they number its entries, is the server's, and a window more
    after each `close_lists`."""

    def __init__(self, store: StoreClient) -> None:
        super().__init__(store.raw, store.timeout_s, store._links)
        self._jumps: list[int] = []

    async def close_lists(self, keys: Keys) -> None:
        """Let the time go by in which what was shown waits for an answer."""
        seconds, micros = await super().run_on(keys.meta, "TIME")
        self._jumps.append(int(seconds) * 1000 + int(micros) // 1000)

    def told(self, server_ms: int) -> int:
        """The judges' time at a time of the server."""
        return server_ms + bisect_right(self._jumps, server_ms) * WINDOW_MS

    def _server(self, told_ms: int) -> int:
        """The latest time of the server at which the judges' was not later."""
        times = [told_ms - jumps * WINDOW_MS for jumps in range(len(self._jumps) + 1)]
        return max(min(time, end - 1) for time, end in zip(times, [*self._jumps, 1 << 60], strict=True))

    async def run_on(self, key: str, *command: Any) -> Any:
        answer = await super().run_on(key, *command)
        if command != ("TIME",):
            return answer
        told = self.told(int(answer[0]) * 1000 + int(answer[1]) // 1000)
        return told // 1000, told % 1000 * 1000

    async def read(self, commands: Sequence[Any]) -> list[Any]:
        answers = await super().read([self._asked(command) for command in commands])
        return [self._answered(command, answer) for command, answer in zip(commands, answers, strict=True)]

    async def run(self, *command: Any) -> Any:
        return self._answered(command, await super().run(*self._asked(command)))

    def _asked(self, command: tuple[Any, ...]) -> tuple[Any, ...]:
        if command[0] != "XRANGE":
            return command
        return (
            *command[:2],
            *(ID.sub(lambda found: str(self._server(int(found[0]))), str(one)) for one in command[2:4]),
            *command[4:],
        )

    def _answered(self, command: tuple[Any, ...], answer: Any) -> Any:
        if command[0] not in ("XRANGE", "XREVRANGE"):
            return answer
        return [
            (ID.sub(lambda found: str(self.told(int(found[0]))), one.decode()).encode(), fields)
            for one, fields in answer
        ]


class Platform:
    """Users are shown ten of sixty items and take up those that they like."""

    def __init__(self, client: StoreClient, keys: Keys, settings: Store, log_dir: Path) -> None:
        self.client, self.keys = client, keys
        self.judges = JudgesClock(client)
        types = load_event_types("movies")
        self.store = OnlineStore(client, keys, settings, types)
        self.catalogue = Catalogue(client, keys)
        self.log = EventLog(log_dir)
        self.types = types
        self.shown = 0
        self.generator = np.random.default_rng(3)
        self.limits = AutopilotLimits(min_lists=SIZE, attribution_s=WINDOW_S)

    async def prepare(self) -> None:
        items = [Item(item_id, item_id, None, (f"c{place % 6}",), False, 0, 0) for place, item_id in enumerate(ITEMS)]
        await put_items(self.client, self.keys, items)
        await self.catalogue.refresh()

    def watches(self) -> tuple[ListJudge, DriftWatch]:
        live = ListJudge(self.judges, self.keys, self.log, self.types, self.catalogue, WINDOW_S)
        return live, DriftWatch(self.client, self.keys, self.limits, live)

    async def visits(self, n: int, liked: range, shown: range, simulated: bool = False) -> None:
        """`n` lists of items out of `shown`; each user takes up about two of `liked`."""
        exposures, events = [], []
        now = self.judges.told(clock.now_ms())
        context = {"simulated": True} if simulated else None
        for _ in range(n):
            self.shown += 1
            user, recommendation = f"u{self.shown}", f"r{self.shown}"
            items = [ITEMS[place] for place in self.generator.choice(shown, 10, replace=False)]
            exposures.append(
                Exposure(recommendation, user, 1, "v1", "champion", None, tuple(items), simulated=simulated)
            )
            for place in self.generator.choice(liked, 2, replace=False):
                item = ITEMS[place]
                events.append(
                    Event(
                        uuid.uuid4().hex,
                        user,
                        item,
                        "like",
                        now,
                        received_ms=now,
                        context=context,
                        categories=(f"c{place % 6}",),
                    )
                )
        await self.store.log_exposures(exposures)
        await next_millisecond(self.store)  # what answers a list comes later than it
        await self.store.record_events(events)
        await next_millisecond(self.store)  # a look leaves the present millisecond to the next one


@pytest.fixture
async def platform(client: StoreClient, keys: Keys, store_settings: Store, tmp_path: Path) -> Platform:
    found = Platform(client, keys, store_settings, tmp_path)
    await found.prepare()
    return found


KNOWN = frozenset(ITEMS)


async def test_a_change_of_taste_is_flagged_and_only_then(platform: Platform) -> None:
    live, drift = platform.watches()
    await live.look()
    await drift.follow("v1", frozenset(), KNOWN)
    before, after = range(20), range(40, 60)

    async def look() -> set[str]:
        await platform.judges.close_lists(platform.keys)
        await live.look()
        assert live.judged.came == platform.shown
        return {view.name for view in await drift.look() if view.drifted}

    for _ in range(40):
        await platform.visits(VISITS, before, before)
        assert await look() == set()
    assert all(view.value is not None for view in drift.measures)
    flagged: set[str] = set()
    for _ in range(20):
        await platform.visits(VISITS, after, before)  # the model has not learned of it
        flagged |= await look()
    assert {"items", "click_rate", "map_at_10"} <= flagged
    assert not flagged & {"event_types", "user_activity", "cold_users", "cold_items", "feature_freshness_s"}


async def test_the_reference_survives_a_restart_and_belongs_to_one_model(platform: Platform) -> None:
    live, drift = platform.watches()
    await live.look()
    await drift.follow("v1", frozenset(), KNOWN)
    for _ in range(8):
        await platform.visits(VISITS, range(20), range(20))
        await platform.judges.close_lists(platform.keys)
        await live.look()
        await drift.look()
    live, drift = platform.watches()
    await drift.follow("v1", frozenset(), KNOWN)
    await live.look()
    assert {"the present window" in view.detail for view in await drift.look()} == {True}
    await drift.follow("v2", frozenset(), KNOWN)
    assert {"the reference window" in view.detail for view in await drift.look()} == {True}


async def test_lists_are_judged_once_however_often_it_starts_again(platform: Platform) -> None:
    live, _ = platform.watches()
    await live.look()
    for _ in range(6):
        await platform.visits(20, range(20), range(20))
        live, _ = platform.watches()
        await live.look()
        rival, _ = platform.watches()
        await rival.look()
        await live.look()
        await rival.look()
    assert (live.judged.came, rival.judged.came) == (0, 0), "all are open while judges come and go"
    await platform.judges.close_lists(platform.keys)
    for judge in (live, rival, live, rival):
        await judge.look()
    [quality] = await read_quality(platform.client, platform.keys)
    assert quality.sums["lists"] == quality.sums["judged"] == 120
    assert 0 < quality.sums["clicked"] < 120
    assert quality.items_shown == 20


async def test_one_look_reads_all_that_is_there(platform: Platform) -> None:
    live, _ = platform.watches()
    await live.look()
    now = clock.now_ms()
    imported = [
        Event(uuid.uuid4().hex, "one", ITEMS[number % 60], "like", now, received_ms=now) for number in range(700)
    ]
    await platform.store.record_events(imported)  # of one user, so in one stream: more than one reading takes
    await next_millisecond(platform.store)
    await live.look()
    assert (live.events.came, live.skipped) == (700, 0)


async def test_simulated_lists_are_left_out_unless_training_learns_from_them(platform: Platform) -> None:
    live, _ = platform.watches()
    taking = ListJudge(
        platform.judges, platform.keys, platform.log, platform.types, platform.catalogue, WINDOW_S, with_simulated=True
    )
    await live.look()
    await platform.visits(20, range(20), range(20), simulated=True)
    await platform.visits(5, range(20), range(20))
    await live.look()
    assert (live.events.came, live.left_out_since(0)) == (10, 40)
    await taking.look()  # from where the other one stopped, so it reads only what may still be open
    await platform.visits(20, range(20), range(20), simulated=True)
    await taking.look()
    assert taking.events.came == 40
    assert taking.left_out_since(0) == 0
    await platform.judges.close_lists(platform.keys)
    for _ in range(2):  # the first finds that the other one has judged meanwhile, and goes on from where that was
        await live.look()
    assert (live.judged.came, live.events.came) == (5, 10)


def judged(user: str, clicked: bool) -> JudgedList:
    return JudgedList(user, 0, "v1", ("a",), clicked, clicked or None, float(clicked) / 10)


def test_one_robot_makes_no_loss_of_quality_and_no_cold_items() -> None:
    """It looks at as many lists as all others together and takes nothing up, or takes up what nobody knows."""
    generator = np.random.default_rng(5)
    then, now = ([judged(f"u{n}", bool(generator.random() < 0.3)) for n in range(800)] for _ in range(2))
    robot = [judged("robot", clicked=False)] * 800
    for sums in (click_sums, precision_sums):
        assert change_since(sums(then), sums(now), 0.1).dropped is False
        found = change_since(sums(then), sums(now + robot), 0.1)
        assert found.dropped is None
        assert "one user may hold 50%" in (found.reason or "")
    cold, warm = PairSums.of(np.array([0.0] * 800 + [800.0]), np.array([1.0] * 800 + [800.0])), binary_sums(0, 800)
    view = rise("cold_items", warm, cold, "words")
    assert (view.value, view.drifted) == (None, None)


def test_a_reference_that_was_measured_otherwise_is_none() -> None:
    """Its precision was divided by what was taken up, so the same lists would look worse now."""
    fields = {
        "version": "v1", "users": [], "items": [], "types": [], "categories": [], "cold_users": [0, 1],
        "cold_items": [], "list_users": [], "taken_up": [], "clicks": [], "precision": [],
    }  # fmt: skip
    assert reference_of(orjson.dumps(fields)) is None
    assert reference_of(orjson.dumps({**fields, "measured": MEASURED})) is not None
