"""Top-two Thompson sampling: new users go where the better variants are, without giving up the comparison.

Source: D. Russo, "Simple Bayesian Algorithms for Best-Arm Identification", Operations Research 68 (2020). With a_i the
posterior probability that variant i is the best, the next user gets the best of a posterior draw with chance beta, else
the best of further draws until another one leads:

    weight_i = a_i (beta + (1 - beta) sum over j != i of a_j / (1 - a_j))

The a_i are integrals over normal posteriors of the means, computed by quadrature instead of drawn: the same sums give
the same weights, with no seed. An additive floor, floor + (1 - k floor) weight_i, keeps every variant in use, so that
each has an estimate and a bounded importance weight.

Weights that follow the results bias the plain means (an unlucky start gets little data to correct itself: Nie, Tian,
Taylor and Zou, "Why Adaptively Collected Data Have Negative Bias and How to Correct for It", AISTATS 2018), so every
allocation carries that warning.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from experiments.statistics.sums import Sums, merge

ADAPTIVE_WARNING = (
    "weights followed the results: plain means are biased, most of all for variants that lost traffic early, and "
    "fixed-sample p-values do not hold; confirm with fixed weights before relying on the size of an effect"
)
# As far as the normal density is above 0 in float64: when one arm leads by far, the rivals' shares of what is left are
# ratios of tail probabilities.
_GRID = np.linspace(-38.0, 38.0, 9501)
# Below this such a ratio is made of denormal numbers.
_SMALLEST_TAIL = 1e-280
_MASS = np.exp(-0.5 * _GRID**2) * (_GRID[1] - _GRID[0]) / math.sqrt(2.0 * math.pi)


@dataclass(frozen=True)
class Allocation:
    """Weights for users who arrive from now on; those who have a variant keep it.

    Attributes:
        weights: sum to 1, each at least the floor.
        best: posterior probability of each variant to be the best, None while it is too early.
        reason: why the weights are still equal.
        warning: what this does to the analysis.
    """

    weights: tuple[float, ...]
    best: tuple[float, ...] | None
    reason: str | None
    warning: str = ADAPTIVE_WARNING


def top_two_weights(
    arms: Sequence[Sums],
    *,
    floor: float = 0.05,
    beta: float = 0.5,
    minimum_users: int = 100,
    higher_is_better: bool = True,
) -> Allocation:
    """Weights of the arms from their sums; equal, with the reason, until each has `minimum_users`.

    Raises:
        ValueError: fewer than two arms, a floor that leaves nothing to give, beta outside (0, 1].
    """
    k = len(arms)
    if k < 2:
        raise ValueError(f"arms: a bandit needs at least two, not {k}")
    if not 0 <= floor <= 1 / k:
        raise ValueError(f"floor must be from 0 to 1/{k}, not {floor!r}")
    if not 0 < beta <= 1:
        raise ValueError(f"beta must be above 0 and at most 1, not {beta!r}")
    equal = tuple(1.0 / k for _ in arms)
    fewest = min(arm.n for arm in arms)
    if fewest < max(2, minimum_users):
        return Allocation(equal, None, f"too early: the smallest arm has {fewest} of {max(2, minimum_users)} users")
    pooled = merge(arms).variance
    if pooled is None or pooled <= 0:
        return Allocation(equal, None, "zero variance: every user of every arm has the same value")
    sign = 1.0 if higher_is_better else -1.0
    means = np.array([sign * arm.total / arm.n for arm in arms])
    errors = np.array([_standard_error(arm, pooled) for arm in arms])
    best = probability_best(means, errors)
    shares = _top_two(best, means, beta)
    weights = floor + (1.0 - k * floor) * shares
    return Allocation(tuple(float(w) for w in weights / weights.sum()), tuple(float(b) for b in best), None)


def probability_best(means: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """(k,) probability that each of k independent normals, given (k,) means and standard errors, is the largest."""
    best = np.empty(len(means))
    for i in range(len(means)):
        others = np.arange(len(means)) != i
        points = means[i] + errors[i] * _GRID
        below = ndtr((points[:, None] - means[others]) / errors[others])
        best[i] = _MASS @ below.prod(axis=1)
    return best / best.sum()


def _standard_error(arm: Sums, pooled: float) -> float:
    # One pseudo-user with the pooled variance: an arm whose users all did the same is not known for certain.
    variance = max(arm.variance or 0.0, 0.0)
    return math.sqrt((variance * (arm.n - 1) + pooled) / arm.n / arm.n)


def _top_two(best: np.ndarray, means: np.ndarray, beta: float) -> np.ndarray:
    """(k,) chance of each arm to be chosen."""
    shares = beta * best
    for leader in range(len(best)):
        rivals = best.copy()
        rivals[leader] = 0.0
        if rivals.sum() < _SMALLEST_TAIL:
            others = np.where(np.arange(len(best)) == leader, -np.inf, means)
            rivals = (others == others.max()).astype(float)
        shares = shares + (1.0 - beta) * best[leader] * rivals / rivals.sum()
    return shares
