"""What autopilot decides never takes a slot in use, and never undoes what a person decided since it looked."""

from collections.abc import Callable

import pytest

from deployments.autopilot.autopilot import Autopilot
from deployments.operations import monitor
from deployments.replica.request_metrics import RequestMetrics
from deployments.replica.user_counts import UserCounts
from features.experiments.changes import change_experiment, create_experiment
from features.experiments.experiment import Definition
from features.experiments.steps import start
from features.serving.promotion import set_slot
from features.serving.retraining_run import keep_result
from features.serving.run_record import RunResult
from features.serving.serving_state import read_state
from features.serving.slots import CHALLENGER, CHAMPION
from tests.deployments.jobs_api import JobsApi
from tests.deployments.pilots import Pilots

pytestmark = pytest.mark.anyio


async def trained(found: Pilots, jobs: JobsApi, not_served: str | None = None) -> str:
    """A run whose job has published v2. Returns its id."""
    run = await found.retraining().start("person", "test")
    result = RunResult(
        version="v2", uri="/bundles/v2", passed=True, reasons="the numbers", metrics={}, not_served=not_served
    )
    await keep_result(found.client, found.keys, run.run_id, result)
    jobs.end(run.run_id, "SUCCEEDED")
    return run.run_id


async def two_slots(found: Pilots) -> None:
    await set_slot(found.client, found.keys, CHAMPION, "v0", "/bundles/v0", "first")
    await set_slot(found.client, found.keys, CHALLENGER, "v1", "/bundles/v1", "second")


async def test_a_retraining_leaves_the_slot_of_a_running_experiment_alone(
    pilots: Callable[..., Pilots], jobs: JobsApi
) -> None:
    """Regression: with policy `manual` the new model took the challenger's slot, and the experiment was suspended."""
    found = pilots(policy="manual")
    client, keys = found.client, found.keys
    await two_slots(found)
    variants = [{"name": slot, "weight": 0.5, "slot": slot} for slot in (CHAMPION, CHALLENGER)]
    definition = Definition.model_validate({"id": "e1", "hypothesis": "h", "variants": variants})
    await create_experiment(client, keys, definition, 1)
    await change_experiment(client, keys, "e1", lambda one, state: start(one, state, 2), "started", "go", 2)
    await trained(found, jobs)
    await found.look(3)
    ended = await found.ended()
    assert ended.outcome == "waiting"
    assert "the slot challenger is in use by the experiment e1" in (ended.detail or "")
    assert (await read_state(client, keys)).serving(CHALLENGER) == "v1"


async def test_a_retraining_does_not_replace_what_a_person_put_there_while_it_ran(
    pilots: Callable[..., Pilots], jobs: JobsApi
) -> None:
    found = pilots(policy="manual")
    await two_slots(found)
    await trained(found, jobs)
    await set_slot(found.client, found.keys, CHALLENGER, "v9", "/bundles/v9", "a person looks at it")
    await found.look(3)
    assert "v2 waits for a person to promote it: the slot challenger was" in ((await found.ended()).detail or "")
    assert (await read_state(found.client, found.keys)).serving(CHALLENGER) == "v9"


async def test_a_model_that_its_job_could_not_put_into_the_slot_was_not_promoted(
    pilots: Callable[..., Pilots], jobs: JobsApi
) -> None:
    found = pilots(policy="gate")
    await two_slots(found)
    await trained(found, jobs, not_served="the slot champion is in use")
    await found.look(3)
    ended = await found.ended()
    assert (ended.outcome, ended.detail) == ("waiting", "the gate: the numbers; but the slot champion is in use")


async def fail(found: Pilots, n: int) -> None:
    metrics = RequestMetrics(found.client, found.keys, "ranking")
    counts = UserCounts(metrics.counts, found.settings.autopilot.slow_s)
    version = (await read_state(found.client, found.keys)).serving(CHAMPION)
    for number in range(n):
        counts.answered(f"u{number}", version, 0.01, "internal_error")
    await metrics.flush()


async def test_a_rollback_decided_on_an_earlier_look_leaves_a_newer_promotion_alone(
    pilots: Callable[..., Pilots], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: what a person promoted between the observation and the rollback was overwritten."""
    monkeypatch.setattr(monitor, "FRESH_S", 60.0)
    found = pilots()
    client, keys = found.client, found.keys
    await set_slot(client, keys, CHAMPION, "v0", "/bundles/v0", "first")
    await found.look()
    await set_slot(client, keys, CHAMPION, "v1", "/bundles/v1", "a person wanted it")
    await found.look()
    assert (await read_state(client, keys)).guard is not None
    await fail(found, 100)
    pilot = Autopilot(found.settings, found._version, found._hold)
    seen = await pilot._monitor.observe()
    assert seen.slots[CHAMPION].version == "v1"
    await set_slot(client, keys, CHAMPION, "v2", "/bundles/v2", "a person mends it")
    await pilot.look()
    await pilot._client.aclose()
    assert (await read_state(client, keys)).serving(CHAMPION) == "v2"


async def test_what_is_watched_is_in_use_until_it_is_rolled_back(pilots: Callable[..., Pilots]) -> None:
    found = pilots()
    client, keys = found.client, found.keys
    await set_slot(client, keys, CHAMPION, "v0", "/bundles/v0", "first")
    await found.look()
    await set_slot(client, keys, CHAMPION, "v1", "/bundles/v1", "a person wanted it")
    await found.look()
    watched = (await read_state(client, keys)).guard
    assert watched is not None
    assert (watched.version, watched.previous) == ("v1", "v0")
    await fail(found, 100)
    await found.look()
    state = await read_state(client, keys)
    assert (state.serving(CHAMPION), state.guard) == ("v0", None)
