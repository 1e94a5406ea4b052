"""How many of the new events count: one user's do up to a bound, wherever they lie by now."""

import uuid
from pathlib import Path

import pytest

from configs import clock
from data.event_log import EventLog
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.redis.lock import maintenance
from features.streams.drain import drain
from features.streams.new_events import NewEvents

pytestmark = pytest.mark.anyio
ENOUGH, OF_ONE_USER = 1_000, 100


async def record(store: OnlineStore, users: list[str], simulated: bool = False) -> None:
    context = {"simulated": True} if simulated else None
    now_ms = clock.now_ms()
    await store.record_events(
        [Event(uuid.uuid4().hex, user, "a", "view", now_ms, received_ms=now_ms, context=context) for user in users]
    )


async def move(store: OnlineStore, log: EventLog) -> None:
    async with maintenance(store.client, store.keys, "a test") as lock:
        await drain(store.client, store.keys, log, lock)


def counting(store: OnlineStore, log: EventLog, with_simulated: bool = False) -> NewEvents:
    return NewEvents(store.client, store.keys, log, ENOUGH, OF_ONE_USER, with_simulated)


async def test_a_robot_does_not_make_a_thousand_new_events(valkey_store: OnlineStore, tmp_path: Path) -> None:
    store, log = valkey_store, EventLog(tmp_path)
    await record(store, ["learned"] * 3_000)
    await move(store, log)
    await record(store, ["robot"] * 2_500)
    await move(store, log)
    await record(store, ["robot"] * 2_500 + [f"u{place}" for place in range(400)])
    assert await counting(store, log).count(5_400) == OF_ONE_USER + 400
    await move(store, log)
    assert await counting(store, log).count(5_400) == OF_ONE_USER + 400
    # Other users of whom each does a few things are enough.
    await record(store, [f"u{place}" for place in range(400)] * 2)
    assert await counting(store, log).count(6_200) > ENOUGH


async def test_what_is_simulated_does_not_count_and_hides_nothing(valkey_store: OnlineStore, tmp_path: Path) -> None:
    store, log = valkey_store, EventLog(tmp_path)
    await record(store, [f"u{place % 300}" for place in range(900)])
    await record(store, [f"s{place}" for place in range(1_500)], simulated=True)
    await move(store, log)
    await record(store, [f"u{place % 300}" for place in range(600)])
    await record(store, [f"s{place}" for place in range(1_500)], simulated=True)
    assert await counting(store, log).count(1_500) > ENOUGH
    assert await counting(store, log, with_simulated=True).count(1_500) > ENOUGH
    assert await counting(store, log).count(999) == 999


async def test_a_count_that_is_not_enough_is_true_too(valkey_store: OnlineStore, tmp_path: Path) -> None:
    """Regression: below the threshold a robot's events were said to count whole, for people to see."""
    store, log = valkey_store, EventLog(tmp_path)
    await record(store, ["robot"] * 500)
    found = counting(store, log)
    assert await found.count(500) == OF_ONE_USER
    # What may be enough is counted at once.
    await record(store, [f"u{place}" for place in range(1_000)])
    assert await found.count(1_500) > ENOUGH


async def test_the_count_is_kept_while_nothing_came(valkey_store: OnlineStore, tmp_path: Path) -> None:
    store, log = valkey_store, EventLog(tmp_path)
    await record(store, ["robot"] * 1_200)
    found = counting(store, log)
    assert await found.count(1_200) == OF_ONE_USER
    await record(store, [f"u{place}" for place in range(1_000)])
    assert await found.count(1_200) == OF_ONE_USER
    assert await counting(store, log).count(2_200) > ENOUGH
