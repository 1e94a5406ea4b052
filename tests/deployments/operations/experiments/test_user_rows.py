"""Rows of single users, page by page: each user once, and nobody waits for them."""

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from configs import clock
from configs.event_types import load_event_types
from configs.settings import Settings
from data.event_log import EventLog
from deployments.operations.experiments import user_rows
from deployments.operations.experiments.user_rows import UserRows
from experiments.user_totals import UserTotals, variant_sums
from features.experiments.counts import read_sums
from features.experiments.experiment import ExperimentError
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.redis.lock import maintenance
from features.serving.serving_state import ServingState, read_state
from features.streams.drain import drain
from tests.features.bandit_arms import begun
from tests.features.server_clock import server_ms, until_after

pytestmark = pytest.mark.anyio
USERS = 40


class Observed(OnlineStore):
    """A store that notes which threads ask what events mean, as a replay does for each of them."""

    threads: set[int]

    def goals(self, name: str, value: float | None) -> int:
        self.threads.add(threading.get_ident())
        return super().goals(name, value)


async def browsed(store: OnlineStore, experiment: str, seed: int) -> None:
    """Lists of all users, of this experiment and of others, and what they took up."""
    pick, now_ms = random.Random(seed), clock.now_ms()
    for number in range(USERS):
        user, mine = f"u:{number}", f"{seed}-{number}"
        one = Exposure(mine, user, now_ms, "v", "ab"[number % 2], experiment, ("i1", "i2"), before=number)
        other = Exposure(f"x{mine}", f"other {number}", now_ms, "v", "a", "another", ("i1",))
        await store.log_exposures([one, other])
    await until_after(store, await server_ms(store))  # no event in the millisecond of its list
    events = [
        Event(f"e{seed} {number} {n}", f"u:{number}", "i1", "like", now_ms, recommendation_id=f"{seed}-{number}")
        for number in range(USERS)
        for n in range(pick.randrange(3))
    ]
    await store.record_events(events)


async def pages(rows: UserRows, state: ServingState, experiment: str, limit: int) -> list[list[dict[str, Any]]]:
    found, cursor = [], None
    while True:
        page, cursor = await rows.page(state, experiment, cursor, limit)
        found.append(page)
        if cursor is None:
            return found


@pytest.mark.parametrize(("limit", "portion"), [(7, 5), (40, 1000), (1, 30), (1000, 17)])
async def test_each_user_is_on_one_page_and_no_replay_runs_on_the_event_loop(
    settings_of: Callable[..., Settings], client: StoreClient, keys: Keys, limit: int, portion: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(user_rows, "PORTION", portion)
    settings = settings_of()
    store = Observed(client, keys, settings.store, load_event_types(settings.data.events))
    store.threads = set()
    name = await begun(store, None)
    await browsed(store, name, seed=1)
    async with maintenance(client, keys, "compaction") as lock:
        await drain(client, keys, EventLog(settings.log_dir), lock, chunk_rows=11)
    await browsed(store, name, seed=2)
    state = await read_state(client, keys)
    store.threads.clear()
    found = await pages(UserRows(settings, store), state, name, limit)
    assert store.threads
    assert threading.get_ident() not in store.threads
    assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
    rows = [row for page in found for row in page]
    assert sorted(row["user_id"] for row in rows) == sorted(f"u:{number}" for number in range(USERS))
    totals = [UserTotals(**{field: value for field, value in row.items() if field != "user_id"}) for row in rows]
    assert {one.lists for one in totals} == {2}
    sums = await read_sums(client, keys, name, ["a", "b"])
    assert {variant: {k: v for k, v in one.items() if v} for variant, one in sums.items()} == variant_sums(totals)


async def test_a_cursor_that_is_none_is_refused(
    settings_of: Callable[..., Settings], client: StoreClient, keys: Keys
) -> None:
    settings = settings_of()
    store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))
    name = await begun(store, None)
    state = await read_state(client, keys)
    for cursor in ("x", "99:", "-1:u", ""):
        with pytest.raises(ExperimentError, match="is none that this interface gave out"):
            await UserRows(settings, store).page(state, name, cursor, 10)
    with pytest.raises(ExperimentError, match="no experiment"):
        await UserRows(settings, store).page(state, "nothing", None, 10)
    assert await UserRows(settings, store).page(state, name, None, 10) == ([], None)
