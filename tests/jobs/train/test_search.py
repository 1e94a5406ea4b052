"""The search of a retraining, on a Ray of its own or one that runs, with the real store and the real registry."""

import json
import signal
from pathlib import Path

import yaml
from mlflow import MlflowClient

from configs.settings import Settings
from jobs.train.mlflow_registry import PARENT_TAG
from jobs.train.search_space import SPACE_FILE
from jobs.train.store_calls import current_slots
from jobs.train.tune import METRIC
from models.bundle.reading import load_bundle
from tests.jobs.retraining import run


def test_the_command_searches_and_a_trial_that_fails_is_reported(with_registry: Settings, tmp_path: Path) -> None:
    space = yaml.safe_load(SPACE_FILE.read_text())
    space["parameters"]["alpha"] = {"choice": [4.0, 1e30]}  # with the second the vectors grow beyond all numbers
    space["start"] = [{"regularization": 8.0, "alpha": alpha, "weight_power": 1.0} for alpha in (1e30, 4.0)]
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(space))
    training = with_registry.training.model_copy(update={"search_space": file})
    settings = with_registry.model_copy(update={"training": training})
    with run(settings, "--trials", "2") as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "trial 1 of 2: failed, the others go on" in out
    assert "FloatingPointError" in out
    assert "trial 2 of 2: NDCG@10" in out
    assert "1 of 2 trials failed" in out
    assert "[100 %]" in out
    version = current_slots(settings)["champion"].version
    assert load_bundle(settings.bundles_dir / version).manifest.metrics["search_ndcg_at_10"] > 0
    client = MlflowClient(settings.tracking_uri)
    parent = client.get_model_version_by_alias(settings.tracking.model, "champion").run_id
    experiment = client.get_run(parent).info.experiment_id
    children = client.search_runs([experiment], f"tags.`{PARENT_TAG}` = '{parent}'")
    scores = {child.info.status: child.data.metrics.get(METRIC) for child in children}
    assert len(children) == 2
    assert set(scores) == {"FAILED", "FINISHED"}
    assert scores["FINISHED"] > 0
    assert list((settings.state_dir / "tune").iterdir()) == []
    assert not Path(settings.state_dir.parent, ".ray").exists()  # no token in the user's home


def test_a_killed_search_goes_on_after_its_finished_trials(with_store: Settings, shared_ray: dict[str, str]) -> None:
    trials = "3"
    with run(with_store, "--trials", trials, ray=shared_ray) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if f" of {trials}: NDCG@10" in line:
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL
    [file] = (with_store.state_dir / "tune").glob("trials-*.jsonl")
    records = [json.loads(line) for line in file.read_text().splitlines() if line]
    assert 1 <= len(records) < int(trials)
    # A score that no fit gives: whatever reports it has it from the file.
    records[0]["result"] |= {METRIC: 0.98765, "scores": [0.98765]}
    file.write_text("".join(f"\n{json.dumps(record)}" for record in records))

    with run(with_store, "--trials", trials, ray=shared_ray) as process:  # it waits for the killed one's lock
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert f"going on with a search that was cut off after {len(records)} trials" in out
    assert out.count("NDCG@10 0.9877 over 1 inner splits") == 1
    assert out.count(f" of {trials}: NDCG@10") == int(trials)
    version = current_slots(with_store)["champion"].version
    manifest = load_bundle(with_store.bundles_dir / version).manifest
    assert manifest.metrics[f"search_{METRIC}"] == 0.98765
    assert not file.exists()


def test_a_broken_search_space_is_refused_before_anything_is_tried(with_store: Settings, tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE_FILE.read_text().replace("least_gain", "least_gian"))
    training = with_store.training.model_copy(update={"search_space": file})
    with run(with_store.model_copy(update={"training": training})) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == "retrain: space.yaml: iterations.least_gain: Field required\n"
