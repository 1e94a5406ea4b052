from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from experiments.statistics.difference import Difference, mean_difference
from experiments.statistics.sequential import always_valid_test, boundary
from experiments.statistics.sums import Sums
from experiments.statistics.welch import welch_test

LOOKS = 20
EXPERIMENTS = 2_000


def test_published_numbers(oracles: dict[str, Any]) -> None:
    (oracle,) = oracles["sequential"]
    a, b = (Sums(oracle[arm]["n"], oracle[arm]["sum"], oracle[arm]["sum_squares"]) for arm in "ab")
    found = always_valid_test(mean_difference(a, b, relative=True), 0.05, oracle["tuning_n"])
    assert found.estimate == pytest.approx(oracle["expect"]["lift"], abs=oracle["tolerance"])
    assert found.interval == pytest.approx(oracle["expect"]["ci"], abs=oracle["tolerance"])
    assert found.p_value == pytest.approx(oracle["expect"]["p_value"], abs=oracle["tolerance"])


@cache
def sums_at_looks(draw: Any, per_look: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(2, EXPERIMENTS, LOOKS) sums of the arms' values and of their squares, at each look."""
    rows = draw(np.random.default_rng(seed), (2, EXPERIMENTS, LOOKS, per_look)).astype(float)
    return rows.sum(axis=3).cumsum(axis=2), (rows**2).sum(axis=3).cumsum(axis=2)


def positive_at_some_look(draw: Any, per_look: int, seed: int, test: Any, relative: bool) -> float:
    """Share of A/A experiments that some of 20 looks, each at `per_look` more users an arm, calls different."""
    totals, squares = sums_at_looks(draw, per_look, seed)
    positive = np.zeros(EXPERIMENTS, bool)
    for look in range(LOOKS):
        n = per_look * (look + 1)
        for run in np.flatnonzero(~positive):
            a, b = (Sums(n, float(totals[arm, run, look]), float(squares[arm, run, look])) for arm in (0, 1))
            p = test(mean_difference(a, b, relative)).p_value
            positive[run] = p is not None and p < 0.05
    return float(positive.mean())


def clicks(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.random(shape) < 0.2


def events(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.negative_binomial(1.0, 0.25, shape)


def rare(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Two conversions in 100 users, at the first look: a relative difference would mistake them for a baseline."""
    return rng.random(shape) < 0.02


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(
    ("draw", "tuning_n"),
    [
        (events, 5000),
        (rare, 500),
        *(pytest.param(draw, n, marks=pytest.mark.matrix) for draw, n in ((clicks, 5000), (events, 1000))),
    ],
)
def test_twenty_looks_stay_below_alpha(draw: Any, tuning_n: int, relative: bool) -> None:
    found = positive_at_some_look(
        draw, 100, 61, lambda difference: always_valid_test(difference, 0.05, tuning_n), relative
    )
    print(f"sequential {draw.__name__} tuning {tuning_n} relative={relative}: {found:.4f}")
    assert found <= 0.05


def test_the_fixed_sample_test_does_not() -> None:
    found = positive_at_some_look(clicks, 100, 61, welch_test, relative=False)
    print(f"Welch looked at 20 times: {found:.4f}")
    assert found > 0.15


def difference(value: float, n: int = 1000, variance: float = 0.01) -> Difference:
    return Difference(False, 1.0, 1.0 + value, n, value, variance, 900.0)


@settings(deadline=None)
@given(st.floats(-2, 2), st.integers(4, 10**7), st.floats(0.001, 0.2))
def test_p_value_and_interval_agree(value: float, n: int, alpha: float) -> None:
    found = always_valid_test(difference(value, n), alpha)
    assert found.interval is not None
    assert found.p_value is not None
    low, high = found.interval
    # Away from the very boundary, where rounding decides.
    assume(min(abs(low), abs(high)) > 1e-9)
    assert (found.p_value < alpha) == (low > 0 or high < 0)


@settings(deadline=None)
@given(st.integers(4, 10**6), st.floats(0.001, 0.2))
def test_the_interval_is_wider_than_that_of_one_look(n: int, alpha: float) -> None:
    narrow, wide = welch_test(difference(0.1), alpha).interval, always_valid_test(difference(0.1, n), alpha).interval
    assert narrow is not None
    assert wide is not None
    assert wide[1] - wide[0] > narrow[1] - narrow[0]


def test_the_boundary_is_tightest_near_the_tuning_size() -> None:
    # Where the interval's width, against the best possible for each n, is smallest (arXiv 2103.06476, appendix).
    widths = {n: boundary(n, 0.05, 2000) for n in (200, 2000, 20_000)}
    for n, width in widths.items():
        rivals = [boundary(n, 0.05, tuning) for tuning in (200, 2000, 20_000)]
        assert boundary(n, 0.05, n) == min(rivals)
        assert width >= min(rivals)


def test_undefined_keeps_its_reason_and_bad_settings_are_refused() -> None:
    found = always_valid_test(Difference(False, None, None, 0, reason="control: no users"))
    assert (found.p_value, found.interval, found.reason) == (None, None, "control: no users")
    with pytest.raises(ValueError, match="tuning_n must be above 0"):
        always_valid_test(difference(0.1), tuning_n=0)
    with pytest.raises(ValueError, match="alpha must be between 0 and 1"):
        always_valid_test(difference(0.1), alpha=0.0)
