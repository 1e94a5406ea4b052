from typing import Any

import numpy as np
import pytest

from experiments.statistics.cuped import cuped_difference
from experiments.statistics.difference import Comparison, mean_difference
from experiments.statistics.sums import PairSums
from experiments.statistics.welch import welch_test
from tests.experiments.simulated_arms import POPULATION, Arms, compared


def test_published_numbers(oracles: dict[str, Any]) -> None:
    (oracle,) = oracles["cuped"]
    names = ("n", "sum", "sum_squares", "pre_sum", "pre_sum_squares", "sum_products")
    a, b = (PairSums(*(oracle[arm][name] for name in names)) for arm in "ab")
    found = welch_test(cuped_difference(a, b, relative=True).difference)
    assert found.estimate == pytest.approx(oracle["expect"]["lift"], abs=oracle["tolerance"])
    assert found.p_value == pytest.approx(oracle["expect"]["p_value"], abs=oracle["tolerance"])


def activity(seed: int, correlation: float) -> np.ndarray:
    """(2, POPULATION) of users: skewed activity in the experiment and before it, with the given correlation."""
    rng = np.random.default_rng(seed)
    before, own = rng.gamma(4.0, 1.0, (2, POPULATION))
    return np.array([correlation * before + (1 - correlation**2) ** 0.5 * own + 2.0, before])


@pytest.mark.parametrize("correlation", [0.3, 0.6, 0.9])
def test_variance_falls_by_the_squared_correlation(correlation: float) -> None:
    population = activity(40, correlation)
    true = float(np.corrcoef(population)[0, 1]) ** 2
    assert true == pytest.approx(correlation**2, abs=0.005)
    control, treatment = (Arms(population, 4_000, 400, seed) for seed in (41, 42))
    plain, adjusted = (compared(control, treatment, False, adjusted=adjusted) for adjusted in (False, True))
    adjusted.agrees(lambda one: welch_test(cuped_difference(control.pair(one), treatment.pair(one), False).difference))
    plain.agrees(lambda one: welch_test(mean_difference(control.pair(one).main, treatment.pair(one).main, False)))
    # Over the experiments, and as the formula claims it, which must be the same thing.
    claimed = adjusted.variance.mean()
    fall = 1.0 - claimed / plain.variance.mean()
    seen = 1.0 - adjusted.value.var() / plain.value.var()
    print(f"CUPED correlation {correlation}: variance falls by {fall:.4f} (seen {seen:.4f}), squared {true:.4f}")
    assert fall == pytest.approx(true, rel=0.05)
    assert 1.0 - seen == pytest.approx(1 - true, rel=0.05)
    assert claimed == pytest.approx(adjusted.value.var(), rel=0.06)
    assert adjusted.correlation is not None
    assert adjusted.correlation.mean() == pytest.approx(correlation, abs=0.02)


def test_coverage_and_a_a() -> None:
    usual = activity(50, 0.7)
    lifted = usual + np.array([[1.0], [0.0]])
    control, treatment, same = (
        Arms(population, 10_000, 200, seed) for population, seed in ((usual, 51), (lifted, 52), (usual, 53))
    )
    for relative, truth in ((False, 1.0), (True, 1.0 / usual[0].mean())):

        def code(one: int, relative: bool = relative) -> Comparison:
            return welch_test(cuped_difference(control.pair(one), treatment.pair(one), relative).difference)

        found, equal = (compared(control, arms, relative, adjusted=True) for arms in (treatment, same))
        found.agrees(code)
        covered, positive = found.covers(truth).mean(), equal.p_values < 0.05
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
        (pairs([1], [2]), pairs([1, 2, 4], [3, 1, 2]), "control: one user"),
        (pairs([1, 2, 4], [3, 1, 2]), PairSums(0, 0, 0, 0, 0, 0), "treatment: no users"),
        (pairs([3, 3, 3], [3, 1, 2]), pairs([3, 3], [2, 1]), "zero variance: all 5 users of both arms"),
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


def test_an_arm_in_which_nobody_does_anything_is_compared() -> None:
    rng = np.random.default_rng(5)
    before = rng.poisson(3.0, 400).astype(float)
    clicks, none = rng.poisson(before / 3).astype(float), np.zeros(400)
    found = cuped_difference(PairSums.of(clicks, before), PairSums.of(none, before), relative=False)
    assert found.theta > 0
    tested = welch_test(found.difference)
    assert tested.p_value is not None
    assert tested.p_value < 1e-6
    assert tested.interval is not None
    assert tested.interval[0] < -clicks.mean() < tested.interval[1]


def test_a_control_of_zero_has_no_relative_lift() -> None:
    found = cuped_difference(pairs([-1, 1, 0], [3, 1, 2]), pairs([1, 2, 4], [3, 1, 2]), relative=True)
    assert found.reason == "control is 0.0: a relative difference needs a control above 0"
