from pathlib import Path

import numpy as np
import pytest
import yaml

from configs.settings import Settings, SettingsError
from features.retention import Erasures
from jobs.training_data import load_training_data
from jobs.tune import METRIC, SPACE_FILE, inner_folds, load_search_space, objective


def test_the_search_space_as_shipped() -> None:
    space = load_search_space()
    assert space.parameters.regularization.log_uniform == (5.0, 120.0)
    assert space.parameters.alpha.log_uniform == (1.0, 20.0)
    for point in space.start:
        low, high = space.parameters.regularization.log_uniform
        assert low <= point.regularization <= high
        assert point.iterations in space.parameters.iterations.choice


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner_split": 3}, "inner_split: Extra"),
        ({"parameters": {"alpha": {"log_uniform": [5, 1]}}}, "low < high"),
        ({"parameters": {"alpha": {"choice": []}}}, "at least one value"),
        ({"parameters": {"alpha": {}}}, "either log_uniform or choice"),
        ({"cpus_per_trial": 0}, "cpus_per_trial"),
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


def test_the_objective_is_the_mean_over_the_folds(settings: Settings) -> None:
    data, space = load_training_data(settings, Erasures({})), load_search_space()
    folds = inner_folds(data, space, "preference", 1)
    found = objective(
        {"regularization": 2.0, "alpha": 4.0, "iterations": 5, "weight_power": 0.5}, folds, factors=8, seed=0
    )
    assert found[METRIC] == pytest.approx(np.mean(found["scores"]))
    assert len(found["scores"]) == len(folds)
    assert found[METRIC] > 0.3
