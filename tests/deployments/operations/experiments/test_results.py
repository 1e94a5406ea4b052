"""Results as they are read from a real store: at how many users, and from what."""

from collections.abc import Callable
from typing import Any

import pytest

from configs import clock
from configs.event_types import load_event_types
from configs.settings import Settings
from deployments.operations.experiments.control import ExperimentControl
from deployments.operations.experiments.views import experiment_view
from experiments.user_totals import STATISTICS
from features.experiments.changes import change_experiment
from features.experiments.experiment import Definition, Experiment, ExperimentError
from features.experiments.steps import start
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.serving_state import read_state
from tests.features.bandit_arms import begun, count, people

pytestmark = pytest.mark.anyio
DAY_MS = 86_400_000


@pytest.fixture
def control(settings_of: Callable[..., Settings], client: StoreClient, keys: Keys) -> ExperimentControl:
    async def never(*_: Any) -> None:
        raise AssertionError("no replica is asked")

    settings = settings_of()
    store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))
    return ExperimentControl(settings, store, never, never)


async def started(control: ExperimentControl, days: float = 8.0, **fields: Any) -> str:
    """An experiment of a and b that has run for some days."""
    store = control._store
    await begun(store, None)
    variants = [{"name": "a", "weight": 0.5, "slot": "champion"}, {"name": "b", "weight": 0.5, "slot": "challenger"}]
    (other,) = (await control.all())[:1]
    await control.stop(other.id, "it makes place")
    made = await control.create(Definition.model_validate({"hypothesis": "h", "variants": variants, **fields}))
    since = clock.now_ms() - int(days * DAY_MS)
    await change_experiment(
        store.client, store.keys, made.id, lambda one, now: start(one, now, since), "started", "", since
    )
    await control.follow()
    return made.id


async def test_a_draft_names_versions_that_there_are(control: ExperimentControl) -> None:
    """Regression: a misspelt version was taken, and refused only when the experiment was started."""
    arms = [{"name": "a", "weight": 0.5, "slot": "champion"}, {"name": "b", "weight": 0.5, "version": "v9"}]
    with pytest.raises(ExperimentError, match=r"variants.1.version: there is no version 'v9'; the latest are none"):
        await control.create(Definition.model_validate({"hypothesis": "h", "variants": arms}))
    assert await control.all() == []


async def test_a_fixed_sample_is_read_once(control: ExperimentControl) -> None:
    """More users after the planned ones were a new look each, at a new difference."""
    name = await started(control, method="welch", planned_users=300)
    await count(control._store, name, [*people("a", 299, 0.2), *people("b", 310, 0.4)])
    _, early = await control.results.of(name)
    assert (early.decision.action, early.arms[0].users) == ("keep_running", 299)
    await count(control._store, name, [*people("a", 301, 0.2), *people("b", 310, 0.4)])
    found, first = await control.results.of(name)
    assert (first.decision.action, first.decision.winner) == ("ship", "b")
    assert found.reading is not None
    await count(control._store, name, [*people("a", 600, 0.4), *people("b", 600, 0.2)])
    again, later = await control.results.of(name)
    assert again.reading == found.reading
    assert later.decision == first.decision
    assert [arm.users for arm in later.arms] == [301, 310]
    assert any("read once, as planned" in text for text in later.warnings)
    assert "reading" not in experiment_view(again)


async def test_the_results_say_what_other_groups_leave(control: ExperimentControl) -> None:
    """They said that there were no users, and not why."""
    elder = await started(control, coverage=0.3)
    store = control._store
    variants = [{"name": "a", "weight": 0.5, "slot": "champion"}, {"name": "b", "weight": 0.5, "slot": "challenger"}]
    given = {"hypothesis": "h", "variants": variants, "group": "other", "id": "younger"}
    await control.create(Definition.model_validate(given))
    now_ms = clock.now_ms()
    await change_experiment(
        store.client, store.keys, "younger", lambda one, now: start(one, now, now_ms), "started", "", now_ms
    )
    _, results = await control.results.of("younger")
    [warning] = [text for text in results.warnings if "one variant" in text]
    assert f"{elder} began before: about 70% of the users" in warning
    assert not [text for text in (await control.results.of(elder))[1].warnings if "one variant" in text]


async def test_an_always_valid_one_is_read_at_every_look(control: ExperimentControl) -> None:
    name = await started(control, planned_users=300)
    await count(control._store, name, [*people("a", 301, 0.2), *people("b", 310, 0.4)])
    await control.results.of(name)
    await count(control._store, name, [*people("a", 600, 0.4), *people("b", 600, 0.2)])
    found, later = await control.results.of(name)
    assert (found.reading, later.arms[0].users) == (None, 600)


@pytest.mark.parametrize("method", ["welch", "always_valid"])
async def test_the_sample_of_a_planned_effect_is_fixed_once(control: ExperimentControl, method: str) -> None:
    """It was made anew at each look, from the variance of the day."""
    name = await started(control, method=method, planned_effect=0.05)

    async def sample() -> int | None:
        store = control._store
        return (await read_state(store.client, store.keys)).experiments[name].sample_users

    await count(control._store, name, [*people("a", 90, 0.2), *people("b", 90, 0.2)])
    await control.tick()
    assert await sample() is None
    await forget_snapshots(control, name)
    await count(control._store, name, [*people("a", 150, 0.2), *people("b", 150, 0.2)])
    await control.tick()
    fixed = await sample()
    assert fixed is not None
    await forget_snapshots(control, name)
    await count(control._store, name, [*people("a", 400, 0.5), *people("b", 400, 0.5)])
    await control.follow()
    await control.tick()
    assert await sample() == fixed
    assert (await control.results.of(name))[1].plan.users == fixed
    assert "planned" in [change.change for change in (await control.one(name))[1]]


async def test_the_planned_users_are_fixed_at_the_start(control: ExperimentControl) -> None:
    name = await started(control, planned_users=321, planned_effect=0.05)
    assert (await control.one(name))[0].sample_users == 321


async def forget_snapshots(control: ExperimentControl, name: str) -> None:
    """The next look then keeps one, whatever the time."""
    await control._client.run("DEL", control._keys.experiment_series(name))


async def test_a_record_of_before_has_neither_and_is_read(control: ExperimentControl) -> None:
    name = await started(control, method="welch", planned_users=300)
    store = control._store
    kept = (await control.one(name))[0].model_dump(mode="json")
    old = {field: value for field, value in kept.items() if field not in ("sample_users", "reading")}
    assert len(kept) - len(old) == 2
    await store.client.run("HSET", store.keys.experiments, name, Experiment.model_validate(old).model_dump_json())
    await count(store, name, [*people("a", 301, 0.2), *people("b", 310, 0.4)])
    found, results = await control.results.of(name)
    assert (results.decision.action, results.plan.users) == ("ship", 300)
    assert found.reading is not None
    assert set(found.reading.sums["a"]) <= set(STATISTICS)


async def test_the_series_has_a_point_for_each_snapshot(control: ExperimentControl) -> None:
    name = await started(control)
    await count(control._store, name, [*people("a", 300, 0.2), *people("b", 310, 0.4)])
    await control.tick()
    (point,) = await control.results.series(name, "click_through", 10)
    _, now = await control.results.of(name)
    assert {variant: value["users"] for variant, value in point["variants"].items()} == {"a": 300, "b": 310}
    assert point["comparisons"]["b"] == vars(now.comparisons[0].decides)
