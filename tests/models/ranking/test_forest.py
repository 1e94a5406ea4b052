"""Against LightGBM itself: same trees, same sums."""

import lightgbm
import numpy as np
import pytest

from models.ranking.forest import MOST_LEAVES, Forest

EVERY = range(6)


def predict(forest: Forest, some: np.ndarray) -> np.ndarray:
    """Of rows that share nothing."""
    return forest.predict(some, np.empty((1, 0), np.float32), np.array([len(some)]))


def fitted(leaves: int, trees: int, missing: float, seed: int, categorical: bool = False) -> lightgbm.Booster:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(3000, 6)).astype(np.float32)
    features[:, 2] = np.round(features[:, 2])  # thresholds that values meet exactly
    target = features[:, 0] * features[:, 1] + np.abs(features[:, 2]) + generator.normal(size=3000)
    features[generator.random(features.shape) < missing] = np.nan
    if categorical:
        features[:, 4] = generator.integers(0, 4, 3000)
        features[:, 5] = np.minimum(generator.geometric(0.05, 3000), 90)
        target += (features[:, 4] == 2) + 2 * (features[:, 5] % 7 < 2)
        features[generator.random(3000) < missing, 5] = np.nan
    settings = {"num_leaves": leaves, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5, "seed": seed}
    settings |= {"min_data_per_group": 20, "max_cat_to_onehot": 4}
    data = lightgbm.Dataset(features, target, categorical_feature=[4, 5] if categorical else [], params=settings)
    booster = lightgbm.train(settings, data, num_boost_round=trees)
    # As a bundle has it.
    return lightgbm.Booster(model_str=booster.model_to_string())


def rows(seed: int, n: int = 5000) -> np.ndarray:
    generator = np.random.default_rng(seed + 100)
    made = generator.normal(size=(n, 6)).astype(np.float32) * 2
    made[:, 2] = np.round(made[:, 2])
    made[generator.random(made.shape) < 0.2] = np.nan
    made[generator.random(made.shape) < 0.1] = 0.0
    made[generator.random(made.shape) < 0.02] = np.inf
    made[generator.random(made.shape) < 0.02] = -np.inf
    return made


@pytest.mark.parametrize("leaves", [2, 5, MOST_LEAVES])
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("trees", [1, 8, 61])
def test_sums_are_lightgbms(leaves: int, missing: float, trees: int) -> None:
    booster = fitted(leaves, trees, missing, seed=leaves + trees)
    some = rows(trees)
    expected = booster.predict(some, num_threads=1, raw_score=True)
    np.testing.assert_allclose(
        predict(Forest(booster.dump_model()["tree_info"], EVERY), some), expected, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("leaves", [2, 5, MOST_LEAVES])
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("trees", [1, 61])
def test_sums_with_categories_are_lightgbms(leaves: int, missing: float, trees: int) -> None:
    """Categories that no tree has met, fractions, negative numbers and NaN among them."""
    booster = fitted(leaves, trees, missing, seed=leaves + trees, categorical=True)
    info = booster.dump_model()["tree_info"]
    assert any(node["decision_type"] == "==" for tree in info for node in _tests(tree["tree_structure"]))
    some, generator = rows(trees), np.random.default_rng(trees)
    some[:, 4] = generator.integers(-2, 7, len(some))
    some[:, 5] = generator.integers(-3, 200, len(some)) + generator.choice([0.0, 0.0, 0.5, -0.5], len(some))
    some[generator.random(some.shape) < 0.1] = np.nan
    some[:3, 5] = (4e9, -4e9, 1e30)
    expected = booster.predict(some, num_threads=1, raw_score=True)
    np.testing.assert_allclose(predict(Forest(info, EVERY), some), expected, rtol=0, atol=1e-12)


def test_thresholds_between_two_floats_are_on_the_right_side() -> None:
    """A threshold is a double; the nearest float32 may lie above it, and would let one value too many pass."""
    booster = fitted(MOST_LEAVES, 40, 0.0, seed=3)
    trees = booster.dump_model()["tree_info"]
    thresholds = [node["threshold"] for tree in trees for node in _tests(tree["tree_structure"])]
    around = np.array([np.float32(value) for value in thresholds], np.float32)
    around = np.concatenate(
        [around, np.nextafter(around, np.float32(np.inf)), np.nextafter(around, np.float32(-np.inf))]
    )
    some = np.repeat(around[:, None], 6, axis=1)
    np.testing.assert_allclose(
        predict(Forest(trees, EVERY), some), booster.predict(some, raw_score=True), rtol=0, atol=1e-12
    )


def test_the_threshold_that_tells_any_number_from_a_missing_one() -> None:
    """The text of the model says inf, its dump 1e300; LightGBM lets infinity pass."""
    split = {
        "split_feature": 0,
        "threshold": 1e300,
        "decision_type": "<=",
        "default_left": False,
        "missing_type": "NaN",
    }
    tree = {"tree_structure": {**split, "left_child": {"leaf_value": 1.0}, "right_child": {"leaf_value": 2.0}}}
    some = np.array([[3e38], [np.inf], [np.nan], [-np.inf]], np.float32)
    assert predict(Forest([tree], EVERY), some).tolist() == [1.0, 1.0, 2.0, 1.0]


def test_an_empty_batch_and_a_forest_of_stumps_without_a_test() -> None:
    stump = {"tree_structure": {"leaf_value": 1.5}}
    forest = Forest([stump, stump], EVERY)
    assert predict(forest, np.empty((0, 3), np.float32)).tolist() == []
    assert predict(forest, np.zeros((2, 3), np.float32)).tolist() == [3.0, 3.0]


@pytest.mark.parametrize("shared", [[], [0], [3, 1], [0, 1, 2, 3]])
def test_what_a_list_shares_is_told_once(shared: list[int]) -> None:
    info = fitted(MOST_LEAVES, 61, 0.3, seed=5, categorical=True).dump_model()["tree_info"]
    lengths = np.array([3, 0, 70, 1, 200])
    some = rows(7, int(lengths.sum()))
    of_lists = some[np.minimum(np.cumsum(lengths) - lengths, len(some) - 1)][:, shared]
    some[:, shared] = np.repeat(of_lists, lengths, axis=0)
    own = [feature for feature in EVERY if feature not in shared]
    found = Forest(info, own, shared).predict(some[:, own], of_lists, lengths)
    np.testing.assert_array_equal(found, predict(Forest(info, EVERY), some))
    with pytest.raises(ValueError, match="share is a category"):
        Forest(info, [0, 1, 2, 3, 4], [5])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves"):
        Forest(fitted(MOST_LEAVES + 4, 3, 0.0, seed=1).dump_model()["tree_info"], EVERY)
    split = {"split_feature": 0, "threshold": "1||1000000", "decision_type": "=="}
    tree = {"tree_structure": {**split, "left_child": {"leaf_value": 1.0}, "right_child": {"leaf_value": 2.0}}}
    with pytest.raises(ValueError, match="category 1000000"):
        Forest([tree], EVERY)


def _tests(node: dict) -> list[dict]:  # type: ignore[type-arg]
    if "leaf_value" in node:
        return []
    return [node, *_tests(node["left_child"]), *_tests(node["right_child"])]
