"""CUPED of ratio metrics: less variance by what the covariate explains, and intervals that hold what they promise."""

from collections.abc import Sequence

import numpy as np
import pytest

from experiments.statistics.cuped import cuped_difference, cuped_ratio_difference
from experiments.statistics.difference import Comparison
from experiments.statistics.ratio import ratio_difference
from experiments.statistics.sums import PairSums, RatioSums
from experiments.statistics.welch import welch_test
from tests.experiments.simulated_arms import POPULATION, Arms, compared


def visitors(seed: int, signal: float, keenness: float = 1.0, users: int = POPULATION) -> np.ndarray:
    """(3, users) clicks, lists and earlier events: the keener a user, the more of all three, and the more clicks per
    list."""
    rng = np.random.default_rng(seed)
    taste = rng.beta(2.0, 6.0, users)
    lists = 1 + rng.poisson(rng.gamma(2.0, 3.0, users) * (0.5 + 2.0 * taste))
    return np.array([rng.binomial(lists, keenness * taste), lists, rng.poisson(signal * taste)])


def ratio_of(population: np.ndarray) -> float:
    return float(population[0].sum() / population[1].sum())


def linearised(sums: Sequence[np.ndarray], ratio: float, mean: float) -> np.ndarray:
    return (sums[0] - ratio * sums[1]) / mean


def test_it_is_cuped_of_the_linearised_users() -> None:
    """Against the rows: values, coefficient and variance are those of each user's (y - R d) / mean(d)."""
    rows = [visitors(seed, 20.0, keen, 500).astype(float) for seed, keen in ((1, 1.0), (2, 0.8))]
    found = cuped_ratio_difference(*(RatioSums.of(*arm) for arm in rows), relative=False)
    pooled = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    l_all = linearised(pooled, pooled[0].sum() / pooled[1].sum(), pooled[1].mean())
    theta = np.cov(l_all, pooled[2])[0, 1] / pooled[2].var(ddof=1)
    ratios = [arm[0].sum() / arm[1].sum() for arm in rows]
    adjusted = [linearised(arm, r, arm[1].mean()) - theta * arm[2] for arm, r in zip(rows, ratios, strict=True)]
    assert found.theta == pytest.approx(theta)
    assert found.correlation == pytest.approx(np.corrcoef(l_all, pooled[2])[0, 1])
    assert found.difference.value == pytest.approx(
        ratios[1] - ratios[0] - theta * (rows[1][2].mean() - rows[0][2].mean())
    )
    assert found.difference.variance == pytest.approx(sum(arm.var(ddof=1) / len(arm) for arm in adjusted))


@pytest.mark.parametrize("signal", [5.0, 20.0, 100.0])
def test_variance_falls_by_the_squared_correlation(signal: float) -> None:
    population = visitors(60, signal)
    control, treatment = (Arms(population, 4_000, 400, seed) for seed in (61, 62))
    plain, adjusted = (compared(control, treatment, False, ratio=True, adjusted=one) for one in (False, True))
    adjusted.agrees(
        lambda one: welch_test(cuped_ratio_difference(control.triple(one), treatment.triple(one), False).difference)
    )
    plain.agrees(lambda one: welch_test(ratio_difference(control.pair(one), treatment.pair(one), False)))
    linear = population[0] - ratio_of(population) * population[1]
    squared = float(np.corrcoef(linear, population[2])[0, 1]) ** 2
    assert adjusted.correlation is not None
    assert adjusted.correlation.mean() ** 2 == pytest.approx(squared, rel=0.02)
    claimed = adjusted.variance.mean()
    fall = 1.0 - claimed / plain.variance.mean()
    seen = 1.0 - adjusted.value.var() / plain.value.var()
    print(f"ratio CUPED, signal {signal}: variance falls by {fall:.4f} (seen {seen:.4f}), squared {squared:.4f}")
    assert fall == pytest.approx(squared, rel=0.05)
    assert 1.0 - seen == pytest.approx(1 - squared, rel=0.05)
    assert claimed == pytest.approx(adjusted.value.var(), rel=0.06)


def test_coverage_and_a_a() -> None:
    usual, duller = visitors(70, 20.0), visitors(74, 20.0, 0.9)
    control, treatment, same = (
        Arms(population, 10_000, 400, seed) for population, seed in ((usual, 71), (duller, 72), (usual, 73))
    )
    before, after = ratio_of(usual), ratio_of(duller)
    for relative, truth in ((False, after - before), (True, after / before - 1)):

        def code(one: int, relative: bool = relative) -> Comparison:
            return welch_test(cuped_ratio_difference(control.triple(one), treatment.triple(one), relative).difference)

        found, equal = (compared(control, arms, relative, ratio=True, adjusted=True) for arms in (treatment, same))
        found.agrees(code)
        inside, positive = found.covers(truth), equal.p_values < 0.05
        print(f"ratio CUPED relative={relative}: coverage {inside.mean():.4f}, A/A {positive.mean():.4f}")
        for runs in (2_000, 10_000):
            assert 0.94 <= inside[:runs].mean() <= 0.96
            assert 0.04 <= positive[:runs].mean() <= 0.06


def some(clicks: list[float], lists: list[float], before: list[float]) -> RatioSums:
    return RatioSums.of(np.array(clicks), np.array(lists), np.array(before))


A, B = some([1, 2, 0, 2], [3, 4, 5, 3], [1, 4, 2, 2]), some([2, 2, 1, 3], [3, 5, 4, 4], [2, 4, 0, 3])


def test_over_equal_denominators_it_is_that_of_means() -> None:
    a, b = some([1, 2, 4], [1, 1, 1], [3, 1, 2]), some([2, 3, 9], [1, 1, 1], [5, 1, 4])
    ratios = cuped_ratio_difference(a, b, relative=False)
    means = cuped_difference(a.numerator, b.numerator, relative=False)
    assert ratios.theta == pytest.approx(means.theta)
    assert ratios.difference.value == pytest.approx(means.difference.value)
    assert ratios.difference.variance == pytest.approx(means.difference.variance)


def test_a_covariate_that_says_nothing_leaves_the_plain_difference() -> None:
    a, b = some([1, 2, 4], [3, 4, 5], [5, 5, 5]), some([2, 3, 7], [3, 6, 8], [5, 5, 5])
    found = cuped_ratio_difference(a, b, relative=False)
    assert (found.theta, found.correlation) == (0.0, None)
    assert found.reason == "not adjusted: the covariate has zero variance"
    plain = ratio_difference(a.ratio, b.ratio, relative=False)
    assert welch_test(found.difference).p_value == pytest.approx(welch_test(plain).p_value)


@pytest.mark.parametrize(
    ("treatment", "reason"),
    [
        (some([], [], []), "treatment: no users"),
        (some([1], [2], [3]), "treatment: one user"),
        (some([0, 0], [0, 0], [1, 2]), "treatment: the denominators sum to 0"),
    ],
)
def test_undefined_has_a_reason(treatment: RatioSums, reason: str) -> None:
    found = cuped_ratio_difference(A, treatment, relative=False)
    assert found.difference.value is None
    assert (found.reason or "").startswith(reason)


def test_a_control_near_zero_has_no_relative_lift() -> None:
    found = cuped_ratio_difference(A, B, relative=True)
    assert "a relative difference needs 5; the absolute one is defined" in (found.reason or "")


def test_sums_of_different_users_are_refused() -> None:
    with pytest.raises(ValueError, match="n differs: 4, 0 and 4 users"):
        RatioSums(A.ratio, PairSums(0, 0, 0, 0, 0, 0), A.denominator)
