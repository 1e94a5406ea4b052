import lightgbm
import numpy as np
import pytest

from models.batch_only.tree_walk import TreeWalk


@pytest.mark.parametrize("settings", [{}, {"use_missing": False}, {"zero_as_missing": True}])
def test_the_sums_are_lightgbms(settings: dict[str, bool]) -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(3000, 4)).astype(np.float32)
    rows[generator.random(rows.shape) < 0.2] = np.nan
    rows[generator.random(rows.shape) < 0.2] = 0.0
    label = np.nansum(rows, axis=1) + np.isnan(rows[:, 0]) > 0
    parameters = {"objective": "binary", "num_leaves": 15, "verbosity": -1, "num_threads": 1, **settings}
    booster = lightgbm.train(parameters, lightgbm.Dataset(rows, label=label.astype(int)), num_boost_round=20)
    expected = booster.predict(rows, raw_score=True, num_threads=1)
    assert len(np.unique(expected)) > 100
    np.testing.assert_array_equal(TreeWalk(booster.dump_model()["tree_info"]).predict(rows), expected)


def test_a_tree_of_one_leaf_adds_its_value() -> None:
    walk = TreeWalk([{"tree_structure": {"leaf_value": 0.25}}] * 3)
    np.testing.assert_array_equal(walk.predict(np.zeros((2, 1), np.float32)), [0.75, 0.75])
