"""CUPED: what users did before the experiment explains part of what they do in it; without that part, less noise.

Source: Deng, Xu, Kohavi and Walker, "Improving the Sensitivity of Online Controlled Experiments by Utilizing
Pre-Experiment Data", WSDM 2013. With y the metric, x the covariate (known before the user's exposure, so that the
treatment cannot have moved it) and theta = Cov(y, x) / Var(x) over both arms together,

    adjusted = mean(y) - theta mean(x),    Var(adjusted) = Var(y) (1 - correlation^2) at the best theta

A relative difference divides by the unadjusted control mean m, since the adjusted one has no meaning of its own. Its
variance is the delta method's over (mean y, mean x) of the control, with the arms' covariate means taken as equal,
which randomisation makes them: control's part is (Var(y) r^2 - 2 theta r Cov(y, x) + theta^2 Var(x)) / (n m^2) with
r = treatment's mean / m.
"""

import math
from dataclasses import dataclass

from experiments.difference import (
    Difference,
    defined,
    too_few,
    undefined_baseline,
    undefined_mean,
    welch_degrees_of_freedom,
)
from experiments.sums import ROUNDING, PairSums


@dataclass(frozen=True)
class Adjustment:
    """A difference adjusted by a covariate.

    Attributes:
        difference: the adjusted difference; `control` and `treatment` in it are the unadjusted means.
        theta: the coefficient; 0 where nothing was adjusted.
        correlation: of metric and covariate over both arms, None where undefined. The variance falls by its square.
        reason: why nothing was adjusted, or why the difference is undefined.
    """

    difference: Difference
    theta: float
    correlation: float | None
    reason: str | None


def cuped_difference(control: PairSums, treatment: PairSums, relative: bool) -> Adjustment:
    """Difference of means of `main`, adjusted by `other`; a covariate without variance adjusts nothing, and says so."""
    theta, correlation, unadjusted = _coefficient(control + treatment)
    arms = (("control", control), ("treatment", treatment))
    means = control.main.mean, treatment.main.mean
    n = control.n + treatment.n
    reason = next((found for name, sums in arms if (found := _undefined_adjusted(name, sums, theta))), None)
    if reason is None and relative and control.main.variance is not None:
        reason = undefined_baseline(means[0], control.main.variance / control.n)
    if reason is not None:
        return Adjustment(Difference(relative, *means, n, reason=reason), theta, correlation, reason)
    a, b, before_a, before_b = defined(*means, control.other.mean, treatment.other.mean)
    square_a = _adjusted_variance(control, theta, 1.0) / control.n
    square_b = _adjusted_variance(treatment, theta, 1.0) / treatment.n
    value = (b - a) - theta * (before_b - before_a)
    variance = square_a + square_b
    if relative:
        variance = (square_b + _adjusted_variance(control, theta, b / a) / control.n) / a**2
    difference = Difference(
        relative,
        a,
        b,
        n,
        value=value / a if relative else value,
        variance=variance,
        degrees_of_freedom=welch_degrees_of_freedom(square_a, control.n, square_b, treatment.n),
    )
    return Adjustment(difference, theta, correlation, unadjusted)


def _coefficient(both: PairSums) -> tuple[float, float | None, str | None]:
    """theta, correlation, and why theta is 0."""
    spread, before, covariance = both.main.variance, both.other.variance, both.covariance
    if spread is None or before is None or covariance is None:
        return 0.0, None, too_few("both arms", both.n)
    if before <= 0:
        return 0.0, None, "not adjusted: the covariate has zero variance"
    if spread <= 0:
        return 0.0, None, "not adjusted: the metric has zero variance"
    # Rounding may carry a perfect correlation past 1.
    correlation = max(-1.0, min(1.0, covariance / math.sqrt(spread * before)))
    return covariance / before, correlation, None


def _adjusted_variance(sums: PairSums, theta: float, scale: float) -> float:
    """Var(scale y - theta x) over users; 0 where it is within rounding."""
    spread, before, covariance = defined(sums.main.variance, sums.other.variance, sums.covariance)
    terms = scale**2 * spread, -2.0 * theta * scale * covariance, theta**2 * before
    total = sum(terms)
    return 0.0 if abs(total) <= ROUNDING * sum(abs(term) for term in terms) else total


def _undefined_adjusted(arm: str, sums: PairSums, theta: float) -> str | None:
    plain = undefined_mean(arm, sums.main)
    if plain is not None:
        return plain
    variance = _adjusted_variance(sums, theta, 1.0)
    if variance < 0:
        return f"{arm}: the sums contradict each other (negative adjusted variance)"
    if variance == 0:
        return f"{arm}: zero variance after the adjustment, the covariate explains all {sums.n} values"
    return None
