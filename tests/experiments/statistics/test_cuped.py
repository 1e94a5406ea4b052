from typing import Any

import numpy as np
import pytest

from experiments.statistics.cuped import cuped_difference
from experiments.statistics.difference import mean_difference
from experiments.statistics.sums import PairSums
from experiments.statistics.welch import welch_test
from tests.experiments.simulated_arms import PairDraw, pair_arms


def test_published_numbers(oracles: dict[str, Any]) -> None:
    (oracle,) = oracles["cuped"]
    names = ("n", "sum", "sum_squares", "pre_sum", "pre_sum_squares", "sum_products")
    a, b = (PairSums(*(oracle[arm][name] for name in names)) for arm in "ab")
    found = welch_test(cuped_difference(a, b, relative=True).difference)
    assert found.estimate == pytest.approx(oracle["expect"]["lift"], abs=oracle["tolerance"])
    assert found.p_value == pytest.approx(oracle["expect"]["p_value"], abs=oracle["tolerance"])


def activity(rng: np.random.Generator, lift: float, correlation: float) -> PairDraw:
    """(after, before): skewed activity of users, with the given correlation."""

    def draw(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        before = rng.gamma(4.0, 1.0, shape)
        own = rng.gamma(4.0, 1.0, shape)
        after = correlation * before + (1 - correlation**2) ** 0.5 * own + 2.0
        return after + lift, before

    return draw


@pytest.mark.parametrize("correlation", [0.3, 0.6, 0.9])
def test_variance_falls_by_the_squared_correlation(correlation: float) -> None:
    a, b = (list(pair_arms(activity(np.random.default_rng(seed), 0.0, correlation), 4_000, 400)) for seed in (41, 42))
    plain = [mean_difference(x.main, y.main, relative=False) for x, y in zip(a, b, strict=True)]
    adjusted = [cuped_difference(x, y, relative=False) for x, y in zip(a, b, strict=True)]
    # Over the experiments, and as the formula claims it, which must be the same thing.
    values, plain_values = ([d.value or 0.0 for d in ds] for ds in ([found.difference for found in adjusted], plain))
    claimed = np.mean([found.difference.variance or 0.0 for found in adjusted])
    fall = 1.0 - claimed / np.mean([d.variance or 0.0 for d in plain])
    seen = 1.0 - np.var(values) / np.var(plain_values)
    print(
        f"CUPED correlation {correlation}: variance falls by {fall:.4f} (seen {seen:.4f}), squared {correlation**2:.4f}"
    )
    assert fall == pytest.approx(correlation**2, rel=0.05)
    assert 1.0 - seen == pytest.approx(1 - correlation**2, rel=0.05)
    assert claimed == pytest.approx(np.var(values), rel=0.06)
    assert np.mean([found.correlation or 0.0 for found in adjusted]) == pytest.approx(correlation, abs=0.02)


def test_coverage_and_a_a() -> None:
    mean = 4.0 * (0.7 + (1 - 0.49) ** 0.5) + 2.0
    control, treatment, same = (
        list(pair_arms(activity(np.random.default_rng(seed), lift, 0.7), 10_000, 200))
        for seed, lift in ((51, 0.0), (52, 1.0), (53, 0.0))
    )
    for relative, truth in ((False, 1.0), (True, 1.0 / mean)):
        shifted = [cuped_difference(a, b, relative).difference for a, b in zip(control, treatment, strict=True)]
        equal = [cuped_difference(a, b, relative).difference for a, b in zip(control, same, strict=True)]
        found = [welch_test(difference).interval for difference in shifted]
        covered = np.mean([interval is not None and interval[0] <= truth <= interval[1] for interval in found])
        positive = np.array([welch_test(difference).p_value or 0.0 for difference in equal]) < 0.05
        print(f"CUPED relative={relative}: coverage {covered:.4f}, A/A {positive.mean():.4f}")
        assert 0.94 <= covered <= 0.96
        assert 0.04 <= positive.mean() <= 0.06
        assert 0.04 <= positive[:2000].mean() <= 0.06


def pairs(after: list[float], before: list[float]) -> PairSums:
    return PairSums.of(np.array(after), np.array(before))


def test_a_covariate_that_says_nothing_leaves_the_plain_difference() -> None:
    a, b = pairs([1, 2, 4], [5, 5, 5]), pairs([2, 3, 7], [5, 5, 5])
    found = cuped_difference(a, b, relative=False)
    assert (found.theta, found.correlation) == (0.0, None)
    assert found.reason == "not adjusted: the covariate has zero variance"
    plain = mean_difference(a.main, b.main, relative=False)
    assert welch_test(found.difference).p_value == pytest.approx(welch_test(plain).p_value)


@pytest.mark.parametrize(
    ("control", "treatment", "reason"),
    [
        (pairs([1, 2, 4], [3, 1, 2]), PairSums(0, 0, 0, 0, 0, 0), "treatment: no users"),
        (pairs([1], [2]), pairs([1, 2, 4], [3, 1, 2]), "control: one user"),
        (pairs([1, 2, 4], [3, 1, 2]), pairs([3, 3], [2, 1]), "treatment: zero variance, all 2 users"),
        # Twice the covariate, for everyone.
        (
            pairs([0.8, 0.4, 1.2], [0.4, 0.2, 0.6]),
            pairs([0.2, 0.4, 0.6], [0.1, 0.2, 0.3]),
            "control: zero variance after the adjustment",
        ),
    ],
)
def test_undefined_has_a_reason(control: PairSums, treatment: PairSums, reason: str) -> None:
    found = cuped_difference(control, treatment, relative=False)
    assert found.difference.value is None
    assert found.reason is not None
    assert found.reason.startswith(reason)


def test_a_control_of_zero_has_no_relative_lift() -> None:
    found = cuped_difference(pairs([-1, 1, 0], [3, 1, 2]), pairs([1, 2, 4], [3, 1, 2]), relative=True)
    assert found.reason == "control is 0.0: a relative difference needs a control above 0"
