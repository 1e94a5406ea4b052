from pathlib import Path

import numpy as np
import pytest
import yaml

from configs.settings import Settings, SettingsError
from features.users.erasure import Erasures
from jobs.train import tune
from jobs.train.load_data import load_training_data
from jobs.train.search_space import SPACE_FILE, Iterations, load_search_space
from jobs.train.trial_log import TrialLog, trial_key
from jobs.train.tune import METRIC, inner_folds, objective
from models.evaluation.held_out import mean_ndcg
from models.factors.als import AlsParameters


def test_the_search_space_as_shipped() -> None:
    space = load_search_space()
    assert space.parameters.regularization.log_uniform == (5.0, 120.0)
    assert space.parameters.alpha.log_uniform == (1.0, 20.0)
    for point in space.start:
        low, high = space.parameters.regularization.log_uniform
        assert low <= point.regularization <= high
        assert point.weight_power in space.parameters.weight_power.choice
    assert space.iterations.moments == [5, 10, 15, 20]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner_split": 3}, "inner_split: Extra"),
        ({"parameters": {"alpha": {"log_uniform": [5, 1]}}}, "low < high"),
        ({"parameters": {"alpha": {"choice": []}}}, "at least one value"),
        ({"parameters": {"alpha": {}}}, "either log_uniform or choice"),
        ({"cpus_per_trial": 0}, "cpus_per_trial"),
        ({"iterations": {"step": 5, "most": 20}}, "iterations.least_gain"),
        ({"start": [{"regularization": -1, "alpha": 1, "weight_power": 1}]}, "start.0.regularization"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, change: dict, message: str) -> None:
    content = yaml.safe_load(SPACE_FILE.read_text())
    parameters = {**content["parameters"], **change.pop("parameters", {})}
    file = tmp_path / "search_space.yaml"
    file.write_text(yaml.safe_dump({**content, "parameters": parameters, **change}))
    with pytest.raises(SettingsError, match=message):
        load_search_space(file)


def test_the_folds_follow_from_the_seed(settings: Settings) -> None:
    data, space = load_training_data(settings, Erasures({})), load_search_space()
    one, same, other = (inner_folds(data, space, "preference", seed) for seed in (1, 1, 2))
    assert len(one) == space.inner_splits
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a.relevant.indices, b.relevant.indices)
    assert not np.array_equal(one[0].relevant.indices, other[0].relevant.indices)
    assert not np.array_equal(one[0].relevant.indices, one[1].relevant.indices)


@pytest.mark.parametrize("text", ["", "- a list", "parameters: [unclosed"])
def test_a_file_that_holds_no_keys_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "search_space.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"it (cannot be read|must hold keys)"):
        load_search_space(file)


def test_the_objective_is_the_mean_over_the_folds_at_the_best_moment(settings: Settings) -> None:
    data, space = load_training_data(settings, Erasures({})), load_search_space()
    folds = inner_folds(data, space, "preference", 1)
    config = {"regularization": 2.0, "alpha": 4.0, "weight_power": 0.5}
    every = Iterations(step=1, most=6, least_gain=0)
    reports = list(objective(config, folds, 8, 0, every))
    for report in reports:
        parameters = AlsParameters(factors=8, **{**config, "iterations": report["iterations"]})
        alone = [mean_ndcg(fold, parameters, 0) for fold in folds]
        assert report["scores"] == alone
        assert report[METRIC] == pytest.approx(np.mean(alone))
    best = [report[METRIC] for report in reports]
    assert best == sorted(best)
    assert best[-1] > 0.3


def test_a_trial_that_wins_nothing_more_is_stopped(settings: Settings) -> None:
    data, space = load_training_data(settings, Erasures({})), load_search_space()
    folds = inner_folds(data, space, "preference", 1)
    config = {"regularization": 2.0, "alpha": 4.0, "weight_power": 0.5}
    impatient = list(objective(config, folds, 8, 0, Iterations(step=2, most=40, least_gain=1.0)))
    # A whole point of NDCG can be won once, over nothing at all, and never again.
    assert [report["stopped_at"] for report in impatient] == [2, 4]


def test_a_search_goes_on_after_a_kill(tmp_path: Path) -> None:
    space = load_search_space()
    config = {"regularization": 32.0, "alpha": 4.000000000000001, "weight_power": 1}
    log = TrialLog(tmp_path, space, {"data": "a", "seed": 1})
    assert log.read() == {}
    log.add(config, {METRIC: 0.5})
    with log.path.open("a") as file:
        file.write('\n{"key": "cut o')
    log.add({**config, "alpha": 5.0}, {METRIC: 0.6})
    again = TrialLog(tmp_path, space, {"data": "a", "seed": 1})
    assert again.read()[trial_key({**config, "weight_power": 1.0})] == {METRIC: 0.5}
    assert len(again.read()) == 2
    assert TrialLog(tmp_path, space, {"data": "a", "seed": 2}).read() == {}
    again.remove()
    assert log.read() == {}


def test_large_data_is_searched_on_one_split_of_some_users(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    data, space = load_training_data(settings, Erasures({})), load_search_space()
    assert len(tune.inner_folds(data, space, "preference", 0)) == space.inner_splits
    monkeypatch.setattr(tune, "ONE_SPLIT", len(data) // 3)
    [fold] = tune.inner_folds(data, space, "preference", 0)
    assert tune.describe_folds(len(data), [fold]) == "1 inner split"
    monkeypatch.setattr(tune, "MOST_EVENTS", len(data) // 2)
    [part] = tune.inner_folds(data, space, "preference", 0)
    assert 0 < part.weights.nnz < fold.weights.nnz
    assert "random" in tune.describe_folds(len(data), [part])
