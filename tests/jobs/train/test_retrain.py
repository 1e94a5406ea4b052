"""Whole trainings, with the real store and the real registry."""

import asyncio
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from mlflow import MlflowClient

from configs.clock import now_ms
from configs.event_types import load_event_types
from configs.settings import Settings
from data.dataset import DataError
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.errors import StoreBusy, StoreError
from features.redis.layout import keys_of
from features.streams.compaction import compact
from jobs.train.erasures import current_erasures
from jobs.train.load_data import load_training_data
from jobs.train.mlflow_registry import BUNDLE_TAG, MlflowRegistry, RegistryUnavailable
from jobs.train.one_at_a_time import LOCK, job_id, only_retraining
from jobs.train.publication import read_pending
from jobs.train.retrain import RetrainOptions, retrain
from jobs.train.store_calls import current_slots
from models.bundle.reading import list_bundles, load_bundle
from models.factors.als import AlsParameters
from models.training.past_requests import in_store_order
from models.training.ranker_judgement import judged_from
from tests.jobs.job_store import opened
from tests.jobs.retraining import Lines, run

FIXED = AlsParameters(factors=8, regularization=2.0, alpha=4.0, iterations=5)
OPTIONS = RetrainOptions(fixed=FIXED, reason="a test", force=True)


def versions(settings: Settings) -> dict[str, str]:
    found = MlflowClient(settings.tracking_uri).search_model_versions(f"name = '{settings.tracking.model}'")
    return {version.tags[BUNDLE_TAG]: str(version.version) for version in found}


def test_bundle_registry_and_slot_name_one_version(with_registry: Settings) -> None:
    lines = Lines()
    result = retrain(with_registry, OPTIONS, lines)
    bundle = load_bundle(result.path)
    assert bundle.manifest.version == result.version
    slot = current_slots(with_registry)["champion"]
    assert (slot.version, slot.path, slot.reason) == (result.version, result.path, "a test; promoted: the first model")
    assert MlflowRegistry(with_registry).aliases() == {"champion": (result.version, str(result.path))}

    client = MlflowClient(with_registry.tracking_uri)
    registered = client.get_model_version_by_alias(with_registry.tracking.model, "champion")
    logged = client.get_run(registered.run_id).data
    assert logged.metrics["ndcg_at_10"] == pytest.approx(bundle.manifest.metrics["ndcg_at_10"])
    assert logged.params["regularization"] == "2.0"
    assert logged.tags["data_fingerprint"] == bundle.manifest.data.fingerprint
    why = "none is used: before the window that decides it something was taken up of 0 of them (0 in all), "
    why += "and it takes 2,000"
    assert logged.tags["logged_lists"] == why
    assert f"lists that were shown: {why}" in lines
    assert logged.metrics["logged_lists"] == bundle.manifest.metrics["logged_lists"] == 0


def test_a_model_is_not_compared_with_itself(with_store: Settings) -> None:
    """Regression: a champion of the same recipe was judged by the new model's own lists, "+0.0000 [+0.0000, +0.0000]".
    The bundle that serves is judged, on what happened after all that it has learned from."""
    first = retrain(with_store, replace(OPTIONS, force=False), Lines())
    assert first.verdict.reasons == ("the first model",)
    again = retrain(with_store, replace(OPTIONS, force=False), Lines())
    assert not again.verdict.promote
    assert str(again.verdict).startswith("not promoted: no evidence: since the champion was trained 0 users")
    assert current_slots(with_store)["champion"].version == first.version

    async def acknowledge() -> None:
        """Every user takes up items of the other taste, which the champion has never seen liked by such users."""
        client = connect(with_store.patient_store, with_store.store_url)
        store = OnlineStore(client, keys_of(with_store.store), with_store.store, load_event_types("movies"))
        at = now_ms()
        events = [
            Event(f"{user}-{n}", str(user), str((user + 1) % 2 + 2 * n), "like", at + n, received_ms=at + n)
            for user in range(60)
            for n in range(8)
        ]
        await store.record_events(events)
        await client.aclose()

    asyncio.run(acknowledge())
    third = retrain(with_store, replace(OPTIONS, force=False), Lines())
    assert third.verdict.difference is not None
    assert third.verdict.difference.n >= 20
    assert third.verdict.difference.low < third.verdict.difference.high, "two models, and not one twice"


def test_what_only_the_new_model_has_learned_from_counts_for_it(with_store: Settings) -> None:
    """Regression: both were judged on all that had happened since the champion, so the new model's twin had learned
    from nothing more than the champion, and equal recipes were equal. The new one learns from the first half of that,
    and both answer the same requests of the second."""
    champion = retrain(with_store, replace(OPTIONS, force=False), Lines())

    async def acknowledge() -> None:
        """New items that both tastes take up, one after another: a model that has learned of them is better."""
        store = opened(with_store)
        at = now_ms()
        events = [
            Event(f"{user}-{n}", str(user), f"{1000 + (user + n) % 3}", "like", at + 60 * n + user, received_ms=at)
            for n in range(2)
            for user in range(48)
        ]
        await store.record_events(events)
        await store.client.aclose()

    asyncio.run(acknowledge())
    asyncio.run(compact(with_store))
    data = in_store_order(load_training_data(with_store, current_erasures(with_store)))
    created_ms = load_bundle(champion.path).manifest.created_ms
    known = int(np.count_nonzero(data.arrived_ms <= created_ms))
    assert len(data) - known == 96
    latest = judged_from(data, created_ms, with_store.training.fewest_judged_users)
    assert round(latest * len(data)) == known + 48
    assert round(judged_from(data, created_ms, 1_000) * len(data)) == known, "too few users act in the second half"

    lines = Lines()
    found = retrain(with_store, replace(OPTIONS, force=False), lines)
    assert found.verdict.difference is not None
    assert found.verdict.difference.low > 0, "the champion does not know the new items at all"
    assert found.verdict.promote, str(found.verdict)
    slot = current_slots(with_store)["champion"]
    assert slot.version == found.version
    assert "+0.0000 [+0.0000, +0.0000]" not in slot.reason


def test_what_was_just_acknowledged_is_trained_on(with_registry: Settings) -> None:
    """Regression: training read the log alone, and the events since the last compaction were left out."""

    async def acknowledge() -> None:
        client = connect(with_registry.patient_store, with_registry.store_url)
        store = OnlineStore(client, keys_of(with_registry.store), with_registry.store, load_event_types("movies"))
        await store.record_events([Event(f"e{n}", "a new user", str(n), "like", now_ms()) for n in (1, 2, 3)])
        await client.aclose()

    asyncio.run(acknowledge())
    bundle = load_bundle(retrain(with_registry, OPTIONS, Lines()).path)
    assert bundle.manifest.data.log_events == 3
    assert "a new user" in bundle.user_ids.tolist()


def test_lists_that_the_store_has_logged_are_found(with_store: Settings) -> None:
    async def show_and_like() -> None:
        store = opened(with_store)
        shown = [
            Exposure(f"r{n}", "0", now_ms(), None, "champion", None, ("1", "2", "3"), (1.0, 1.0, 0.9), (3.0, 2.0, 1.0))
            for n in range(2)
        ]
        await store.log_exposures(shown)
        await store.record_events([Event("e", "0", "2", "like", now_ms(), recommendation_id="r1")])
        await store.client.aclose()

    asyncio.run(show_and_like())
    lines = Lines()
    retrain(with_store, OPTIONS, lines)
    assert any("something was taken up of 0 of them (1 in all)" in line for line in lines), lines


def test_a_challenger_leaves_the_champion_alone(with_registry: Settings) -> None:
    champion = retrain(with_registry, OPTIONS, Lines())
    challenger = retrain(with_registry, RetrainOptions(fixed=FIXED, slot="challenger", seed=7), Lines())
    neither = retrain(with_registry, RetrainOptions(fixed=FIXED, slot=None, seed=8), Lines())
    slots = current_slots(with_registry)
    assert (slots["champion"].version, slots["challenger"].version) == (champion.version, challenger.version)
    assert {alias: found[0] for alias, found in MlflowRegistry(with_registry).aliases().items()} == {
        "champion": champion.version,
        "challenger": challenger.version,
    }
    assert set(versions(with_registry)) == {champion.version, challenger.version, neither.version}


def test_without_the_registry_the_model_serves_and_is_registered_later(
    with_registry: Settings, settings: Settings
) -> None:
    away = with_registry.model_copy(update={"tracking": settings.tracking})
    lines = Lines()
    first = retrain(away, OPTIONS, lines)
    assert first.registered_as is None
    assert any("the registry did not take it" in line for line in lines)
    assert current_slots(away)["champion"].version == first.version
    pending_dir = away.state_dir / "pending_publications"
    assert [publication.version for _, publication in read_pending(pending_dir)] == [first.version]

    second = retrain(with_registry, RetrainOptions(fixed=FIXED, seed=7, force=True), Lines())
    assert set(versions(with_registry)) == {first.version, second.version}
    assert MlflowRegistry(with_registry).aliases()["champion"][0] == second.version
    assert read_pending(pending_dir) == []


def test_publishing_again_after_a_kill_changes_nothing(with_registry: Settings) -> None:
    away = with_registry.model_copy(
        update={"tracking": with_registry.tracking.model_copy(update={"uri": "http://127.0.0.1:9"})}
    )
    version = retrain(away, OPTIONS, Lines()).version
    [(_, publication)] = read_pending(away.state_dir / "pending_publications")
    registry, client = MlflowRegistry(with_registry), MlflowClient(with_registry.tracking_uri)
    name = with_registry.tracking.experiment
    found = client.get_experiment_by_name(name)
    experiment = client.create_experiment(name) if found is None else found.experiment_id
    # What an attempt leaves that was killed between the run and the model version
    client.create_run(experiment, tags={BUNDLE_TAG: version})
    numbers = {registry.publish(publication) for _ in range(2)}
    assert numbers == {versions(with_registry)[version]}
    assert len(client.search_runs([experiment], f"tags.{BUNDLE_TAG} = '{version}'")) == 1


def test_without_the_store_nothing_is_trained(settings: Settings) -> None:
    with pytest.raises(StoreError):
        retrain(settings, OPTIONS, Lines())
    assert list_bundles(settings.bundles_dir) == []


def test_without_data_nothing_is_trained(with_store: Settings) -> None:
    empty = with_store.model_copy(update={"data_dir": with_store.data_dir / "none"})
    with pytest.raises(DataError, match="no data set here yet"):
        retrain(empty, OPTIONS, Lines())


def test_a_registry_that_is_away_is_named(settings: Settings) -> None:
    with pytest.raises(RegistryUnavailable, match=settings.tracking_uri):
        MlflowRegistry(settings)


def test_only_so_many_bundles_are_kept(with_store: Settings) -> None:
    made = [retrain(with_store, RetrainOptions(fixed=FIXED, seed=seed, slot=None), Lines()) for seed in range(2)]
    for path in (with_store.state_dir / "pending_publications").glob("*.json"):
        path.unlink()
    made += [retrain(with_store, RetrainOptions(fixed=FIXED, seed=seed, force=True), Lines()) for seed in range(2, 4)]
    assert [path.name for path in list_bundles(with_store.bundles_dir)] == [one.version for one in made[-2:]]


@pytest.mark.parametrize("percent", [" 92", pytest.param(" 90", marks=pytest.mark.matrix)])
def test_a_kill_leaves_no_half_published_version(with_registry: Settings, percent: str) -> None:
    before = retrain(with_registry, OPTIONS, Lines())
    killed = False
    with run(with_registry, "--no-search", "--seed", "7") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"[{percent} %]"):
                process.kill()
                killed = True
    assert killed, f"it never came to {percent} %"
    slot = current_slots(with_registry)["champion"]
    assert load_bundle(slot.path).manifest.version == slot.version
    for path in list_bundles(with_registry.bundles_dir):
        load_bundle(path)

    after = retrain(with_registry, RetrainOptions(fixed=FIXED, seed=9, force=True), Lines())
    assert current_slots(with_registry)["champion"].version == after.version
    registered = versions(with_registry)
    assert {before.version, after.version} <= set(registered)
    # Everything registered has a bundle that was complete when it was
    assert read_pending(with_registry.state_dir / "pending_publications") == []


def test_a_second_retraining_is_refused_and_told_of_the_first(with_store: Settings) -> None:
    with only_retraining(with_store), pytest.raises(StoreBusy, match=f"process {os.getpid()} on .* is retraining"):
        retrain(with_store, OPTIONS, Lines())
    assert retrain(with_store, OPTIONS, Lines()).version


def test_a_job_is_named_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = {"metadata": {"job_submission_id": "raysubmit_7"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(metadata))
    assert job_id() == "job raysubmit_7"


def test_the_lock_of_a_killed_retraining_is_waited_for(with_store: Settings) -> None:
    """Whoever asked was told 202: the training must not fail because of one that was killed three seconds before."""

    async def left_behind() -> None:
        client = connect(with_store.patient_store, with_store.store_url)
        await client.run("SET", keys_of(with_store.store).lock(LOCK), "job gone:0", "PX", 2000)
        await client.aclose()

    asyncio.run(left_behind())
    assert retrain(with_store, OPTIONS, Lines()).version


def test_the_command_names_what_is_wrong(settings: Settings) -> None:
    with run(settings, "--no-search") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("retrain: ")
    assert "Traceback" not in err
