"""The registry's aliases follow the slots, whoever moves them; later, where the registry is away."""

import asyncio

from configs.event_types import load_event_types
from configs.settings import Settings
from deployments.operations.experiments.control import ExperimentControl
from deployments.operations.model_versions import ClearRequest, ModelVersions
from deployments.replica.request_metrics import RequestMetrics
from deployments.replica.user_counts import UserCounts
from features.experiments.experiment import Definition
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.layout import keys_of
from features.serving.timeline import read_timeline
from jobs.train.mlflow_registry import MlflowRegistry
from jobs.train.promote import promote
from jobs.train.retrain import RetrainOptions, retrain
from jobs.train.store_calls import current_slots
from models.factors.als import AlsParameters
from tests.deployments.pilots import Pilots
from tests.jobs.conftest import free_port

FIXED = AlsParameters(factors=8, regularization=2.0, alpha=4.0, iterations=5)


def made(settings: Settings, seed: int, slot: str | None) -> str:
    options = RetrainOptions(fixed=FIXED, seed=seed, slot=slot, force=True)
    return retrain(settings, options, lambda percent, line: None).version


def looks(settings: Settings, failed: int = 0) -> list[str]:
    """Autopilot looks, `failed` requests fail, and it looks twice more. Returns the latest lines of the timeline,
    with who wrote them."""

    champion = current_slots(settings)["champion"].version

    async def run() -> list[str]:
        client, keys = connect(settings.store, settings.store_url), keys_of(settings.store)
        pilots = Pilots(settings, client, keys)
        await pilots.look()
        metrics = RequestMetrics(client, keys, "ranking")
        of_users = UserCounts(metrics.counts, settings.autopilot.slow_s)
        for number in range(failed):
            of_users.answered(f"u{number}", champion, 0.01, "internal_error")
        await metrics.flush()
        await pilots.look(2)
        lines = [f"{line.who}: {line.text}" for line in await read_timeline(client, keys, 50)]
        await client.aclose()
        return lines

    return asyncio.run(run())


def test_the_alias_follows_a_rollback_once_the_registry_answers(with_registry: Settings) -> None:
    acting = with_registry.autopilot.model_copy(update={"mode": "act", "new_events": 0})
    settings = with_registry.model_copy(update={"autopilot": acting})
    tracking = settings.tracking.model_copy(update={"uri": f"http://127.0.0.1:{free_port()}"})
    away = settings.model_copy(update={"tracking": tracking})
    first, second = made(settings, 1, "champion"), made(settings, 2, None)
    looks(settings)
    assert promote(settings, second, "better") is None
    assert MlflowRegistry(settings).aliases()["champion"][0] == second

    lines = looks(away, failed=100)
    assert current_slots(settings)["champion"].version == first
    assert MlflowRegistry(settings).aliases()["champion"][0] == second
    assert not any("alias" in line for line in lines)

    lines = looks(settings)
    assert MlflowRegistry(settings).aliases()["champion"][0] == first
    assert lines.count(f"autopilot: the registry's alias champion names {first} now") == 1

    # It is moved once: what a person does to the alias afterwards stays.
    asyncio.run(MlflowRegistry(settings).point("champion", second))
    looks(settings)
    assert MlflowRegistry(settings).aliases()["champion"][0] == second


def test_the_aliases_follow_an_experiment(with_registry: Settings) -> None:
    """Regression: the winner of an experiment became champion, and the registry went on to name the one before."""
    settings = with_registry
    first, second = made(settings, 1, "champion"), made(settings, 2, None)

    async def experiment() -> dict[str, tuple[str, str]]:
        client, keys = connect(settings.store, settings.store_url), keys_of(settings.store)
        store = OnlineStore(client, keys, settings.store, load_event_types())
        pilots = Pilots(settings, client, keys)
        control = ExperimentControl(settings, store, pilots._version, pilots._hold)
        arms = [{"name": "a", "weight": 0.5, "slot": "champion"}, {"name": "b", "weight": 0.5, "version": second}]
        await control.create(Definition.model_validate({"id": "e1", "hypothesis": "h", "variants": arms}))
        await control.start("e1", "go")
        running = await asyncio.to_thread(MlflowRegistry(settings).aliases)
        await control.stop("e1", "enough")
        await control.promote("e1", "b", "it is better")
        await ModelVersions(settings, client, keys).clear("challenger", ClearRequest())
        await client.aclose()
        return running

    running = asyncio.run(experiment())
    assert {alias: found[0] for alias, found in running.items()} == {"champion": first, "challenger": second}
    after = MlflowRegistry(settings).aliases()
    assert {alias: found[0] for alias, found in after.items()} == {"champion": second}
