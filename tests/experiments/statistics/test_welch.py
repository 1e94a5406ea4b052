from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments.statistics.difference import mean_difference
from experiments.statistics.sums import Sums
from experiments.statistics.welch import welch_test
from tests.experiments.simulated_arms import Draw, arms

RNG = np.random.default_rng


def sums(arm: dict[str, Any]) -> Sums:
    return Sums(arm["n"], arm["sum"], arm["sum_squares"])


@pytest.mark.parametrize("place", [0, 1])
def test_published_numbers(oracles: dict[str, Any], place: int) -> None:
    oracle = oracles["welch"][place]
    relative = oracle["metric"].startswith("relative")
    found = welch_test(mean_difference(sums(oracle["a"]), sums(oracle["b"]), relative))
    expect, tolerance = oracle["expect"], oracle["tolerance"]
    assert found.estimate == pytest.approx(expect["lift"], abs=tolerance)
    assert found.standard_error == pytest.approx(expect["standard_error"], abs=tolerance)
    assert found.interval == pytest.approx(expect["ci"], abs=tolerance)
    assert found.p_value == pytest.approx(expect["p_value"], abs=tolerance)


def test_absolute_is_scipys_welch_test() -> None:
    rng = RNG(1)
    a, b = rng.normal(3, 1, 40), rng.normal(3.4, 4, 15)
    found = welch_test(mean_difference(Sums.of(a), Sums.of(b), relative=False))
    wanted = stats.ttest_ind(b, a, equal_var=False)
    assert found.p_value == pytest.approx(wanted.pvalue)
    interval = wanted.confidence_interval()
    assert found.interval == pytest.approx((interval.low, interval.high))
    pooled = ((39 * a.var(ddof=1) + 14 * b.var(ddof=1)) / 53) ** 0.5
    assert found.effect_size == pytest.approx((b.mean() - a.mean()) / pooled)


def users(least: int, most: int) -> st.SearchStrategy[list[int]]:
    """Values of an arm's users, not all alike."""
    return st.lists(st.integers(least, most), min_size=2, max_size=30).filter(lambda values: len(set(values)) > 1)


@settings(deadline=None)
@given(users(0, 50), users(0, 50), st.floats(0.001, 1000))
def test_the_unit_does_not_matter_and_arms_are_symmetric(a: list[int], b: list[int], scale: float) -> None:
    x, y = np.array(a, float), np.array(b, float)
    plain = welch_test(mean_difference(Sums.of(x), Sums.of(y), relative=False))
    scaled = welch_test(mean_difference(Sums.of(x * scale), Sums.of(y * scale), relative=False))
    swapped = welch_test(mean_difference(Sums.of(y), Sums.of(x), relative=False))
    assert scaled.p_value == pytest.approx(plain.p_value, rel=1e-6)
    assert swapped.p_value == pytest.approx(plain.p_value)
    assert swapped.estimate == pytest.approx(-(plain.estimate or 0.0))


# With users between 50 and 70 even two of them are at least six standard errors above 0, so that the lift is defined.
@settings(deadline=None)
@given(users(50, 70), users(0, 100), st.floats(0.001, 1000))
def test_the_unit_does_not_matter_to_a_lift(a: list[int], b: list[int], scale: float) -> None:
    x, y = np.array(a, float), np.array(b, float)
    plain, scaled = (
        welch_test(mean_difference(Sums.of(unit * x), Sums.of(unit * y), relative=True)) for unit in (1.0, scale)
    )
    assert plain.p_value is not None
    assert scaled.p_value == pytest.approx(plain.p_value, rel=1e-6)
    assert scaled.estimate == pytest.approx(plain.estimate)


@settings(deadline=None)
@given(users(0, 50), users(0, 50))
def test_the_interval_excludes_0_where_the_p_value_is_below_alpha_and_only_there(a: list[int], b: list[int]) -> None:
    found = welch_test(mean_difference(Sums.of(np.array(a)), Sums.of(np.array(b)), relative=False))
    assert found.interval is not None
    assert found.p_value is not None
    low, high = found.interval
    # Away from the very boundary, where rounding decides.
    assume(abs(found.p_value - 0.05) > 1e-9)
    assert (found.p_value < 0.05) == (low > 0 or high < 0)


def bernoulli(rng: np.random.Generator, rate: float) -> Draw:
    return lambda shape: rng.random(shape) < rate


def counts(rng: np.random.Generator, mean: float) -> Draw:
    """Events of users who differ in how active they are: skewed."""
    return lambda shape: rng.negative_binomial(2.0, 2.0 / (2.0 + mean), shape)


@pytest.mark.parametrize(("draw", "parameter"), [(bernoulli, 0.2), (counts, 3.0)])
@pytest.mark.parametrize("relative", [False, True])
def test_a_a_false_positives(draw: Any, parameter: float, relative: bool) -> None:
    # 10,000 experiments: the simulation's own noise is .002. The target speaks of 2,000, the first of them.
    a = arms(draw(RNG(11), parameter), 10_000, 400)
    b = arms(draw(RNG(12), parameter), 10_000, 400)
    found = [welch_test(mean_difference(x, y, relative)).p_value or 0.0 for x, y in zip(a, b, strict=True)]
    positive = np.array(found) < 0.05
    print(f"A/A {draw.__name__} relative={relative}: {positive.mean():.4f}, first 2,000 {positive[:2000].mean():.4f}")
    assert 0.04 <= positive.mean() <= 0.06
    assert 0.04 <= positive[:2000].mean() <= 0.06


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(("draw", "control", "treatment"), [(bernoulli, 0.2, 0.24), (counts, 3.0, 3.3)])
def test_coverage_of_the_interval(draw: Any, control: float, treatment: float, relative: bool) -> None:
    a = arms(draw(RNG(21), control), 10_000, 400)
    b = arms(draw(RNG(22), treatment), 10_000, 600)
    truth = (treatment - control) / (control if relative else 1.0)
    found = [welch_test(mean_difference(x, y, relative)).interval for x, y in zip(a, b, strict=True)]
    covered = np.mean([interval is not None and interval[0] <= truth <= interval[1] for interval in found])
    print(f"coverage {draw.__name__} relative={relative}: {covered:.4f}")
    assert 0.94 <= covered <= 0.96


NOBODY, ONE, SOME, SAME = Sums(0, 0.0, 0.0), Sums(1, 2.0, 4.0), Sums(3, 6.0, 14.0), Sums(3, 6.0, 12.0)


@pytest.mark.parametrize(
    ("control", "treatment", "relative", "reason"),
    [
        (NOBODY, SOME, False, "control: no users"),
        (SOME, ONE, False, "treatment: one user, which has no variance"),
        (SAME, SAME, False, "zero variance: all 6 users of both arms have the same value"),
        (Sums(3, 0.0, 2.0), SOME, True, "control is 0.0: a relative difference needs a control above 0"),
        (Sums(1000, 9.0, 9.0), SOME, True, "control is 0.009, only 3.0 standard errors above 0"),
        (Sums(3, 6.0, 2.0), SOME, False, "control: the sums contradict each other"),
    ],
)
def test_undefined_has_a_reason(control: Sums, treatment: Sums, relative: bool, reason: str) -> None:
    found = welch_test(mean_difference(control, treatment, relative))
    assert (found.estimate, found.p_value, found.interval) == (None, None, None)
    assert found.reason is not None
    assert found.reason.startswith(reason)


@pytest.mark.parametrize(("hits", "exact"), [(5, 0.0594), (6, 0.0289), (8, 0.00675)])
def test_an_arm_in_which_nobody_does_anything_is_compared(hits: int, exact: float) -> None:
    """Regression: its variance is 0, so the difference was undefined, and the most harmful treatment went on. Fisher's
    exact test of `hits` against none, of 100 users in each arm, is never surer by half than what is said here."""
    none, some = Sums(100, 0.0, 0.0), Sums(100, hits, hits)
    found = welch_test(mean_difference(some, none, relative=False))
    assert found.p_value is not None
    assert exact < found.p_value < 3 * exact
    assert found.effect_size == pytest.approx(
        -(hits / 100) / np.sqrt(np.var([1] * hits + [0] * (100 - hits), ddof=1) / 2)
    )


def test_arms_in_which_all_do_otherwise_are_compared() -> None:
    found = welch_test(mean_difference(Sums(145, 0.0, 0.0), Sums(135, 135.0, 135.0), relative=False))
    assert found.p_value is not None
    assert (found.estimate, found.p_value < 1e-40, found.effect_size) == (1.0, True, None)


def test_rare_events_find_no_difference_where_there_is_none_more_often_than_alpha_says() -> None:
    """With 2 of 100 users in the mean, an arm has none in one of seven experiments."""
    a, b = (list(arms(bernoulli(RNG(seed), 0.02), 10_000, 100)) for seed in (31, 32))
    found = [welch_test(mean_difference(x, y, relative=False)).p_value for x, y in zip(a, b, strict=True)]
    assert np.mean([not x.total or not y.total for x, y in zip(a, b, strict=True)]) > 0.1
    assert np.mean([p is not None and p < 0.05 for p in found]) <= 0.05


def test_alpha_is_checked() -> None:
    with pytest.raises(ValueError, match="alpha must be between 0 and 1"):
        welch_test(mean_difference(SOME, SOME, relative=False), alpha=1.0)
