from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaln

from experiments.assignment import TrafficSplit, assign
from experiments.statistics.sample_ratio import CONCENTRATIONS, always_valid_p_values, sample_ratio_test


@pytest.mark.parametrize("place", [0, 1, 2])
def test_published_numbers(oracles: dict[str, Any], place: int) -> None:
    oracle = oracles["sample_ratio_mismatch"][place]
    found = sample_ratio_test(oracle["observed"], oracle["weights"])
    assert found.p_value == pytest.approx(oracle["expect"]["p_value"], abs=oracle["tolerance"])


def test_equal_to_scipys_and_independent_of_the_scale() -> None:
    observed, weights = (480, 310, 220), (0.5, 0.3, 0.2)
    wanted = stats.chisquare(observed, np.array(weights) * sum(observed))
    found = sample_ratio_test(observed, weights)
    assert (found.chi_square, found.p_value) == pytest.approx((wanted.statistic, wanted.pvalue))
    assert sample_ratio_test(observed, [w * 1010 for w in weights]).p_value == pytest.approx(wanted.pvalue)


def test_an_arm_that_should_have_users_and_has_none_is_the_worst_mismatch() -> None:
    found = sample_ratio_test([1000, 0], [0.5, 0.5])
    assert found.p_value is not None
    assert found.always_valid_p_value is not None
    assert found.p_value < 1e-200
    assert found.always_valid_p_value < 1e-200


def hourly_counts(runs: int, weights: list[float], users: int, seed: int) -> np.ndarray:
    """(runs, looks, arms) users of A/A experiments at the end of each hour of 28 days, `users` of them in the end."""
    rng = np.random.default_rng(seed)
    arrivals = np.full(28 * 24, users // (28 * 24))
    return rng.multinomial(arrivals, weights, size=(runs, len(arrivals))).cumsum(axis=1)


@pytest.mark.parametrize(
    ("weights", "users"),
    [
        ([0.5, 0.5], 2_000),
        ([0.6, 0.3, 0.1], 100_000),
        pytest.param([0.5, 0.5], 100_000, marks=pytest.mark.matrix),
        pytest.param([0.6, 0.3, 0.1], 2_000, marks=pytest.mark.matrix),
    ],
)
def test_hourly_looks_for_28_days_give_no_more_false_alarms_than_alpha_says(weights: list[float], users: int) -> None:
    """One chi-square after another called 3 in 100 sound experiments unhealthy where 1 in 1,000 was promised."""
    runs = 1_500
    counts = hourly_counts(runs, weights, users, seed=73)
    lowest = always_valid_p_values(counts, np.array(weights)).min(axis=1)
    for alpha in (0.001, 0.05):
        # What is promised, and three standard errors of the simulation.
        assert np.mean(lowest < alpha) <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)
    expected = counts.sum(axis=2, keepdims=True) * np.array(weights)
    chi_square = ((counts - expected) ** 2 / expected).sum(axis=2)
    one_after_another = stats.chi2.sf(chi_square, len(weights) - 1).min(axis=1)
    assert np.mean(one_after_another < 0.001) > 0.01


def test_weights_that_follow_the_results_give_no_more_false_alarms() -> None:
    """A bandit moves the weights each day; what enters is their mean over the users."""
    rng = np.random.default_rng(79)
    runs, per_day = 3_000, 200
    counts, expected = np.zeros((runs, 2)), np.zeros((runs, 2))
    weight, lowest = np.full(runs, 0.5), np.ones(runs)
    for _ in range(28):
        first = rng.binomial(per_day, weight)
        counts += np.stack([first, per_day - first], axis=1)
        expected += per_day * np.stack([weight, 1 - weight], axis=1)
        shares = expected / expected.sum(axis=1, keepdims=True)
        lowest = np.minimum(lowest, always_valid_p_values(counts, shares))
        # The arm that got fewer than it should is given more, and the other way round.
        weight = np.clip(0.5 - (counts[:, 0] - expected[:, 0]) / 40, 0.1, 0.9)
    assert np.mean(lowest < 0.05) <= 0.05


@pytest.mark.parametrize(
    ("counts", "weights"), [([20, 0], [0.5, 0.5]), ([900, 1_100], [0.5, 0.5]), ([505_000, 495_000], [0.5, 0.5])]
)
def test_a_lost_arm_and_a_small_loss_are_both_found(counts: list[int], weights: list[float]) -> None:
    found = sample_ratio_test(counts, weights).always_valid_p_value
    assert found is not None
    assert found < 0.01


def test_the_always_valid_p_value_is_one_over_the_bayes_factor() -> None:
    counts, shares = np.array([31, 12, 7]), np.array([0.5, 0.3, 0.2])
    factors = []
    for concentration in CONCENTRATIONS:
        alpha = concentration * shares
        mixture = gammaln(51) - gammaln(counts + 1).sum() + gammaln(alpha.sum()) - gammaln(alpha.sum() + 50)
        mixture += (gammaln(alpha + counts) - gammaln(alpha)).sum()
        factors.append(np.exp(mixture - stats.multinomial.logpmf(counts, 50, shares)))
    expected = min(1.0, 1 / np.mean(factors))
    assert sample_ratio_test(counts.tolist(), shares.tolist()).always_valid_p_value == pytest.approx(expected)


def test_one_look_of_the_chi_square_is_as_rare_as_alpha_says() -> None:
    rng = np.random.default_rng(71)
    draws = rng.multinomial(900, [0.6, 0.3, 0.1], size=10_000)
    p = np.array([sample_ratio_test(row.tolist(), [0.6, 0.3, 0.1]).p_value for row in draws])
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.01)
    assert np.mean(p < 0.001) < 0.003


def test_assigned_users_pass() -> None:
    traffic = TrafficSplit("exp-7", ("a", "b", "c"), (0.5, 0.3, 0.2), coverage=0.7)
    chosen = [assign(traffic, f"user-{n}").variant for n in range(20_000)]
    found = sample_ratio_test([chosen.count(name) for name in traffic.variants], traffic.weights)
    assert found.p_value is not None
    assert found.p_value > 0.001


@pytest.mark.parametrize(
    ("observed", "weights", "reason"),
    [
        ([0, 0], [0.5, 0.5], "no users yet"),
        ([3, 4], [0.5, 0.5], "too few users: an arm should have 3.5, the test needs 5"),
        ([30, 40], [1.0, 0.0], "fewer than two arms have a weight"),
    ],
)
def test_undefined_has_a_reason(observed: list[int], weights: list[float], reason: str) -> None:
    found = sample_ratio_test(observed, weights)
    assert (found.p_value, found.chi_square, found.reason) == (None, None, reason)


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"weights\[1\] must be a number from 0, not nan"):
        sample_ratio_test([1, 2], [0.5, float("nan")])
    with pytest.raises(ValueError, match=r"observed\[0\] must be a number from 0, not -1"):
        sample_ratio_test([-1, 2], [0.5, 0.5])
    with pytest.raises(ValueError, match="2 observed counts, but 3 weights"):
        sample_ratio_test([1, 2], [0.5, 0.3, 0.2])
