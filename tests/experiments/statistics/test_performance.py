"""A live metric against its value at deployment: losses are found, noise is not."""

import numpy as np
import pytest
from scipy.stats import binomtest

from experiments.statistics.performance import change_since, share_interval
from experiments.statistics.sums import PairSums


def lists(generator: np.random.Generator, rate: float, users: int = 250) -> tuple[np.ndarray, np.ndarray]:
    """Clicked lists and lists of each user; users differ in how often they click."""
    shown = generator.geometric(0.25, users)
    own = generator.beta(rate * 8, (1 - rate) * 8, users)
    return generator.binomial(shown, own).astype(float), shown.astype(float)


def test_a_loss_is_found_and_named() -> None:
    generator = np.random.default_rng(0)
    found = [
        change_since(PairSums.of(*lists(generator, 0.3)), PairSums.of(*lists(generator, 0.15)), 0.1) for _ in range(50)
    ]
    assert sum(one.dropped is True for one in found) >= 49
    assert np.mean([one.relative for one in found]) == pytest.approx(-0.5, abs=0.05)


def test_a_gain_is_no_loss() -> None:
    generator = np.random.default_rng(1)
    assert not change_since(PairSums.of(*lists(generator, 0.2)), PairSums.of(*lists(generator, 0.4)), 0.1).dropped


def test_false_alarms_of_a_moving_window() -> None:
    """Looks at stationary traffic: the window moves on by a tenth each time, 100 times, for 100 seeds."""
    alarms = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        then = PairSums.of(*lists(generator, 0.25))
        clicked, shown = lists(generator, 0.25, users=250 + 25 * 100)
        alarms += any(
            change_since(then, PairSums.of(clicked[start : start + 250], shown[start : start + 250]), 0.1).dropped
            for start in range(0, 2500, 25)
        )
    assert alarms <= 4


def test_undefined_is_null_with_a_reason() -> None:
    nothing = PairSums(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    found = change_since(nothing, nothing, 0.1)
    assert found.dropped is found.relative is None
    assert found.reason


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 50), (50, 50)])
def test_the_interval_is_that_of_scipy(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert share_interval(hits, n, 0.95) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_without_cases_anything_is_possible() -> None:
    assert share_interval(0, 0) == (0.0, 1.0)
