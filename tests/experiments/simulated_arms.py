"""Simulated experiments, many at once: sums of arms, and their comparison by formulas over arrays.

The formulas are written down here once more, over arrays, since a call of the code for each of ten thousand experiments
takes seconds. Tests of the code compare it with them experiment by experiment for some, and then count over all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.special import stdtr, stdtrit

from experiments.statistics.difference import Comparison
from experiments.statistics.sums import PairSums, RatioSums, Sums

Draw = Callable[[tuple[int, int]], np.ndarray]

POPULATION = 200_000
"""Users from whom simulated arms are drawn with replacement: what is true of them is known exactly."""
AGREED = 200
"""Of how many experiments the code's result is compared with the formulas'."""
_BLOCK = 1_000


def arms(draw: Draw, experiments: int, users: int) -> Iterator[Sums]:
    """Sums of an arm of `users`, for each of many experiments."""
    for start in range(0, experiments, _BLOCK):
        rows = draw((min(_BLOCK, experiments - start), users)).astype(float)
        for total, squares in zip(rows.sum(axis=1), (rows**2).sum(axis=1), strict=True):
            yield Sums(users, float(total), float(squares))


class Arms:
    """An arm of `users` for each of many experiments, drawn with replacement from a population.

    Args:
        population: (k, P) what is measured of each user of the population.
    """

    def __init__(self, population: np.ndarray, experiments: int, users: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        by_user = np.ascontiguousarray(population.T, np.float64)
        totals, products = [], []
        for start in range(0, experiments, _BLOCK):
            rows = by_user[rng.integers(len(by_user), size=(min(_BLOCK, experiments - start), users))]
            totals.append(rows.sum(axis=1))
            products.append(rows.transpose(0, 2, 1) @ rows)
        self.n, self.totals, self.products = users, np.concatenate(totals), np.concatenate(products)

    @classmethod
    def together(cls, first: "Arms", second: "Arms") -> "Arms":
        """The users of both."""
        found = cls.__new__(cls)
        found.n = first.n + second.n
        found.totals, found.products = first.totals + second.totals, first.products + second.products
        return found

    @property
    def means(self) -> np.ndarray:
        """(E, k)"""
        return self.totals / self.n

    @property
    def covariances(self) -> np.ndarray:
        """(E, k, k), unbiased."""
        crossed = self.totals[:, :, None] * self.totals[:, None, :]
        return (self.products - crossed / self.n) / (self.n - 1)

    def pair(self, experiment: int, first: int = 0, second: int = 1) -> PairSums:
        """The sums of two of the values in one experiment."""
        total, product = self.totals[experiment], self.products[experiment]
        return PairSums(
            self.n,
            float(total[first]),
            float(product[first, first]),
            float(total[second]),
            float(product[second, second]),
            float(product[first, second]),
        )

    def triple(self, experiment: int) -> RatioSums:
        """The sums of numerators, denominators and covariates in one experiment."""
        return RatioSums(*(self.pair(experiment, *two) for two in ((0, 1), (0, 2), (1, 2))))


@dataclass(frozen=True)
class Compared:
    """(E,) each: differences with their variances and degrees of freedom, and the correlation with the covariate."""

    value: np.ndarray
    variance: np.ndarray
    freedom: np.ndarray
    correlation: np.ndarray | None

    @property
    def p_values(self) -> np.ndarray:
        """Of Welch's test."""
        found: np.ndarray = 2 * stdtr(self.freedom, -np.abs(self.value) / np.sqrt(self.variance))
        return found

    @property
    def intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """Both ends, at 95 %."""
        width = stdtrit(self.freedom, 0.975) * np.sqrt(self.variance)
        return self.value - width, self.value + width

    def covers(self, truth: float) -> np.ndarray:
        low, high = self.intervals
        return (low <= truth) & (truth <= high)

    def agrees(self, code: Callable[[int], Comparison]) -> None:
        """Fails where the code's comparison of one of the first experiments is another."""
        low, high = self.intervals
        for experiment in range(AGREED):
            found = code(experiment)
            assert found.estimate == pytest.approx(self.value[experiment], rel=1e-9, abs=1e-12)
            assert found.interval == pytest.approx((low[experiment], high[experiment]), rel=1e-9, abs=1e-12)
            assert found.p_value == pytest.approx(self.p_values[experiment], rel=1e-9)


def compared(control: Arms, treatment: Arms, relative: bool, ratio: bool = False, adjusted: bool = False) -> Compared:
    """Treatment minus control.

    Args:
        ratio: whether the metric is the first value over the second, else it is the mean of the first.
        adjusted: whether the last value is a covariate by which the difference is adjusted.
    """
    both = Arms.together(control, treatment)
    theta, correlation = np.zeros(len(both.totals)), None
    if adjusted:
        gradient, covariances = _gradient(both, ratio), both.covariances
        with_covariate = np.einsum("ei,ei->e", gradient, covariances[:, :, -1])
        theta = with_covariate / covariances[:, -1, -1]
        correlation = with_covariate / np.sqrt(_variance(both, gradient) * covariances[:, -1, -1])
    a, b = _metric(control, ratio), _metric(treatment, ratio)
    value = b - a - theta * (treatment.means[:, -1] - control.means[:, -1])
    squares = [_variance(arm, _less(_gradient(arm, ratio), theta)) / arm.n for arm in (control, treatment)]
    share = squares[0] / (squares[0] + squares[1])
    freedom = 1 / (share**2 / (control.n - 1) + (1 - share) ** 2 / (treatment.n - 1))
    if not relative:
        return Compared(value, squares[0] + squares[1], freedom, correlation)
    lifted = _less(_gradient(control, ratio) * (b / a)[:, None], theta)
    variance = (squares[1] + _variance(control, lifted) / control.n) / a**2
    return Compared(value / a, variance, freedom, correlation)


def _metric(arms: Arms, ratio: bool) -> np.ndarray:
    return arms.totals[:, 0] / arms.totals[:, 1] if ratio else arms.means[:, 0]


def _gradient(arms: Arms, ratio: bool) -> np.ndarray:
    """(E, k): how the metric follows the means."""
    found = np.zeros_like(arms.totals)
    found[:, 0] = 1 / arms.means[:, 1] if ratio else 1
    if ratio:
        found[:, 1] = -_metric(arms, ratio) / arms.means[:, 1]
    return found


def _less(gradient: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """The gradient of the metric less theta times the last value's mean."""
    found = gradient.copy()
    found[:, -1] -= theta
    return found


def _variance(arms: Arms, gradient: np.ndarray) -> np.ndarray:
    """(E,): over users, of the linear combination."""
    found: np.ndarray = np.einsum("ei,eij,ej->e", gradient, arms.covariances, gradient)
    return found
