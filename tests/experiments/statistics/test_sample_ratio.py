from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments.assignment import TrafficSplit, assign
from experiments.statistics.sample_ratio import sample_ratio_test


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
    assert found.p_value < 1e-200


def test_a_false_alarm_is_as_rare_as_alpha_says() -> None:
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
