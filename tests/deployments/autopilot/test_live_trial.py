"""A retrained model's experiment, begun, read and ended by autopilots that are killed after every look."""

from collections.abc import Callable

import numpy as np
import pytest

from configs import clock
from configs.event_types import load_event_types
from features.experiments.experiment import Experiment
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.serving.promotion import set_slot
from features.serving.retraining_run import keep_result, read_run
from features.serving.run_record import Run, RunResult
from features.serving.serving_state import read_state
from features.serving.slots import CHALLENGER, CHAMPION, read_slots
from features.serving.timeline import read_timeline
from models.bundle.writing import write_bundle
from tests.deployments.jobs_api import JobsApi
from tests.deployments.pilots import Pilots
from tests.models.bundle.test_bundle import NOW_MS, contents, fields

pytestmark = pytest.mark.anyio
USERS = 800


async def in_testing(pilots: Callable[..., Pilots], jobs: JobsApi) -> tuple[Pilots, Run, Experiment, str]:
    """A run whose model is being tested, and that model's version."""
    found = pilots(policy="experiment", canary_share=0.25, trial_min_days=0, trial_users=100)
    version = write_bundle(found.settings.bundles_dir, contents(), fields(), NOW_MS).name
    await set_slot(found.client, found.keys, CHAMPION, "v1", "/bundles/v1", "first")
    run = await found.retraining().start("person", "test")
    uri = str(found.settings.bundles_dir / version)
    made = RunResult(version=version, uri=uri, passed=True, reasons="the numbers", metrics={})
    await keep_result(found.client, found.keys, run.run_id, made)
    jobs.end(run.run_id, "SUCCEEDED")
    await found.look(4)
    [experiment] = (await read_state(found.client, found.keys)).experiments.values()
    return found, run, experiment, version


async def browse(found: Pilots, experiment: str, clicks: dict[str, float]) -> None:
    """Users of both variants look at a list each and click on it, with the given chances."""
    settings = found.settings
    store = OnlineStore(found.client, found.keys, settings.store, load_event_types(settings.data.events))
    now_ms, generator = clock.now_ms(), np.random.default_rng(1)
    lists, events = [], []
    for number in range(USERS):
        variant = CHAMPION if number % 4 else CHALLENGER  # as the canary's share says
        user, shown = f"u{number}", f"r{number}"
        lists.append(Exposure(shown, user, now_ms, None, variant, experiment, ("i1", "i2"), before=1))
        if generator.random() < clicks[variant]:
            events.append(Event(f"e{number}", user, "i1", "click", now_ms, recommendation_id=shown))
    await store.log_exposures(lists)
    await store.record_events(events)


async def test_one_experiment_tests_the_model(pilots: Callable[..., Pilots], jobs: JobsApi) -> None:
    found, _, experiment, version = await in_testing(pilots, jobs)
    assert (experiment.status, experiment.weights) == ("running", [0.75, 0.25])
    assert experiment.versions == {CHAMPION: "v1", CHALLENGER: version}
    await found.look(3)
    now = await read_run(found.client, found.keys)
    assert now is not None
    assert (now.state, now.experiment) == ("testing", experiment.id)


async def test_a_model_that_wins_its_experiment_is_promoted(pilots: Callable[..., Pilots], jobs: JobsApi) -> None:
    found, run, experiment, version = await in_testing(pilots, jobs)
    await browse(found, experiment.id, {CHAMPION: 0.2, CHALLENGER: 0.6})
    await found.look(3)
    ended = await found.ended()
    assert (ended.run_id, ended.outcome) == (run.run_id, "promoted")
    assert (await read_slots(found.client, found.keys))[CHAMPION].version == version
    [after] = (await read_state(found.client, found.keys)).experiments.values()
    assert (after.status, after.promoted_version) == ("stopped", version)
    told = [line.text for line in await read_timeline(found.client, found.keys, 50)]
    assert len([text for text in told if text.startswith("promoted")]) == 1


async def test_a_model_that_loses_its_experiment_is_not(pilots: Callable[..., Pilots], jobs: JobsApi) -> None:
    found, run, experiment, _ = await in_testing(pilots, jobs)
    await browse(found, experiment.id, {CHAMPION: 0.6, CHALLENGER: 0.2})
    await found.look(3)
    ended = await found.ended()
    assert (ended.run_id, ended.outcome) == (run.run_id, "not_promoted")
    assert (await read_slots(found.client, found.keys))[CHAMPION].version == "v1"
