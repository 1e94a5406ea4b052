"""CUPED: what users did before the experiment explains part of what they do in it; without that part, less noise.

Source: Deng, Xu, Kohavi and Walker, "Improving the Sensitivity of Online Controlled Experiments by Utilizing
Pre-Experiment Data", WSDM 2013. With y the metric, x the covariate (known before the user's exposure, so that the
treatment cannot have moved it) and theta = Cov(y, x) / Var(x) over both arms together,

    adjusted = mean(y) - theta mean(x),    Var(adjusted) = Var(y) (1 - correlation^2) at the best theta

A ratio metric R = sum(y) / sum(d) is not a mean, but by the delta method it varies as the mean of each user's

    l = (y - R d) / mean(d)

(the appendix of the paper; Budylin, Drutsa, Katsev and Tsoy, "Consistent Transformation of Ratio Metrics for Efficient
Online Controlled Experiments", WSDM 2018). So l takes the place of y: adjusted = R - theta mean(x), theta = Cov(l, x) /
Var(x). The covariate is the same as for means; neither part of the ratio has to be known before.

A relative difference divides by the unadjusted control value m, since the adjusted one has no meaning of its own. Its
variance is the delta method's over (value, mean x) of the control, with the arms' covariate means taken as equal,
which randomisation makes them: control's part is (Var(y) r^2 - 2 theta r Cov(y, x) + theta^2 Var(x)) / (n m^2) with
r = treatment's value / m.
"""

import math
from dataclasses import dataclass, replace

from experiments.statistics.difference import (
    Difference,
    defined,
    too_few,
    undefined_baseline,
    undefined_means,
    welch_degrees_of_freedom,
)
from experiments.statistics.ratio import ratio, ratio_variance, undefined_ratios
from experiments.statistics.sums import ROUNDING, PairSums, RatioSums


@dataclass(frozen=True)
class Adjustment:
    """A difference adjusted by a covariate.

    Attributes:
        difference: the adjusted difference; `control` and `treatment` in it are the unadjusted values.
        theta: the coefficient; 0 where nothing was adjusted.
        correlation: that of metric (a ratio's linearised) and covariate over both arms, None where undefined. The
            variance falls by its square.
        reason: why nothing was adjusted, or why the difference is undefined.
    """

    difference: Difference
    theta: float
    correlation: float | None
    reason: str | None


@dataclass(frozen=True)
class _Moments:
    """What the adjustment needs of an arm: variance of metric and covariate over users, their means and covariance."""

    n: int
    value: float | None
    spread: float | None
    before_mean: float | None
    before: float | None
    covariance: float | None


def cuped_difference(control: PairSums, treatment: PairSums, relative: bool) -> Adjustment:
    """Difference of means of `main`, adjusted by `other`; a covariate without variance adjusts nothing, and says so."""
    a, b, both = (_mean_moments(sums) for sums in (control, treatment, control + treatment))
    return _adjust(a, b, both, relative, undefined_means(control.main, treatment.main))


def cuped_ratio_difference(control: RatioSums, treatment: RatioSums, relative: bool) -> Adjustment:
    """`cuped_difference` of two ratios."""
    a, b, both = (_ratio_moments(sums) for sums in (control, treatment, control + treatment))
    return _adjust(a, b, both, relative, undefined_ratios(control.ratio, treatment.ratio))


def _mean_moments(sums: PairSums) -> _Moments:
    before = sums.other
    return _Moments(sums.n, sums.main.mean, sums.main.variance, before.mean, before.variance, sums.covariance)


def _ratio_moments(sums: RatioSums) -> _Moments:
    """The moments of a ratio's linearised values, one for each user."""
    value, before = ratio(sums.ratio), sums.numerator.other
    if value is None or sums.n < 2:
        return _Moments(sums.n, value, None, before.mean, before.variance, None)
    with_numerator, with_denominator = defined(sums.numerator.covariance, sums.denominator.covariance)
    covariance = (with_numerator - value * with_denominator) / (sums.ratio.other_total / sums.n)
    return _Moments(sums.n, value, ratio_variance(sums.ratio), before.mean, before.variance, covariance)


def _adjust(
    control: _Moments, treatment: _Moments, both: _Moments, relative: bool, undefined: str | None
) -> Adjustment:
    """Treatment minus control. `undefined`: why there is not even an unadjusted difference, or None."""
    theta, correlation, unadjusted = _coefficient(both)
    control, treatment = (_varied(arm, both) for arm in (control, treatment))
    arms = (("control", control), ("treatment", treatment))
    values = control.value, treatment.value
    n = control.n + treatment.n
    reason = undefined or next((found for name, arm in arms if (found := _undefined_adjusted(name, arm, theta))), None)
    if reason is None and relative and control.spread is not None:
        reason = undefined_baseline(control.value, control.spread / control.n)
    if reason is not None:
        return Adjustment(Difference(relative, *values, n, reason=reason), theta, correlation, reason)
    a, b, before_a, before_b = defined(*values, control.before_mean, treatment.before_mean)
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


def _varied(arm: _Moments, both: _Moments) -> _Moments:
    """The arm; where its users all have the same value, it varies as those of both arms together."""
    if arm.spread != 0:
        return arm
    return replace(arm, spread=both.spread, before=both.before, covariance=both.covariance)


def _coefficient(both: _Moments) -> tuple[float, float | None, str | None]:
    """theta, correlation, and why theta is 0."""
    if both.spread is None or both.before is None or both.covariance is None:
        return 0.0, None, too_few("both arms", both.n)
    if both.before <= 0:
        return 0.0, None, "not adjusted: the covariate has zero variance"
    if both.spread <= 0:
        return 0.0, None, "not adjusted: the metric has zero variance"
    # Rounding may carry a perfect correlation past 1.
    correlation = max(-1.0, min(1.0, both.covariance / math.sqrt(both.spread * both.before)))
    return both.covariance / both.before, correlation, None


def _adjusted_variance(arm: _Moments, theta: float, scale: float) -> float:
    """Var(scale y - theta x) over users; 0 where it is within rounding."""
    spread, before, covariance = defined(arm.spread, arm.before, arm.covariance)
    terms = scale**2 * spread, -2.0 * theta * scale * covariance, theta**2 * before
    total = sum(terms)
    return 0.0 if abs(total) <= ROUNDING * sum(abs(term) for term in terms) else total


def _undefined_adjusted(name: str, arm: _Moments, theta: float) -> str | None:
    variance = _adjusted_variance(arm, theta, 1.0)
    if variance < 0:
        return f"{name}: the sums contradict each other (negative adjusted variance)"
    if variance == 0:
        return f"{name}: zero variance after the adjustment, the covariate explains all {arm.n} values"
    return None
