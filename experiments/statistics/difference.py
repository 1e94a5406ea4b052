"""The difference between two arms, with its sampling variance: what every test and interval starts from.

A metric's kind (mean, ratio, CUPED) decides how the difference and its variance are computed; the test (fixed sample or
always valid) only needs those. So each kind makes a `Difference`, and each test turns one into a `Comparison`.

Relative differences use the delta method (Deng, Knoblich and Lu, "Applying the Delta Method in Metric Analytics",
KDD 2018): for independent means a and b,

    Var(b / a) ~ Var(b) / a^2 + Var(a) b^2 / a^4

It takes b / a as linear near the measured a, so a must be well away from 0. While it is not, a small a by chance makes
a large lift with an interval far too narrow: at a click rate of 2 %, looked at 20 times from 25 users on, 12 % of A/A
experiments had an always-valid "lift". With the control `BASELINE_ERRORS` standard errors above 0 it was at most 4 % in
all that was tried; before that there is no relative difference. Decide by the absolute one, which has no such trouble,
and show the relative.

An arm whose users all did the same shows no variance, though it has one: a treatment that nobody clicks in is a result,
and the clearest. It is taken to vary as the users of both arms together do, which they would if the arms were alike. Of
100 users in each arm, 5 against none then give p = .065 (Fisher's exact test: .059), 6 give .042 (.029).
"""

import math
from dataclasses import dataclass
from typing import Literal

from experiments.statistics.sums import Sums

BASELINE_ERRORS = 5.0


@dataclass(frozen=True)
class Difference:
    """Treatment minus control, absolute or as a share of the control.

    Attributes:
        relative: whether `value` is a share of the control.
        control, treatment: what the arms measure (unadjusted), None where undefined.
        n: users in both arms.
        value: the difference, None where undefined.
        variance: squared standard error of `value`.
        degrees_of_freedom: the approximation of Welch and Satterthwaite.
        effect_size: Cohen's d, for plain means.
        reason: why it is undefined, in words.
    """

    relative: bool
    control: float | None
    treatment: float | None
    n: int
    value: float | None = None
    variance: float | None = None
    degrees_of_freedom: float | None = None
    effect_size: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Comparison:
    """What a test says about a difference.

    Attributes:
        method: "welch" may be read once, at the planned sample; "always_valid" at any time and as often as wanted.
        alpha: 1 - the interval's confidence.
        relative: whether `estimate` and `interval` are shares of the control.
        estimate, standard_error, interval, p_value: None where undefined.
        effect_size: Cohen's d, for plain means.
        reason: why it is undefined, in words.
    """

    method: Literal["welch", "always_valid"]
    alpha: float
    relative: bool
    estimate: float | None = None
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    effect_size: float | None = None
    reason: str | None = None


def mean_difference(control: Sums, treatment: Sums, relative: bool) -> Difference:
    """Difference of two means, undefined (with the reason) where an arm has fewer than two users, or all have the same
    value."""
    reason = undefined_means(control, treatment)
    means = control.mean, treatment.mean
    n = control.n + treatment.n
    if reason is not None:
        return Difference(relative, *means, n, reason=reason)
    a, b, variance_a, variance_b = defined(*means, control.variance, treatment.variance)
    pooled = ((control.n - 1) * variance_a + (treatment.n - 1) * variance_b) / (n - 2)
    if not variance_a or not variance_b:
        (both,) = defined((control + treatment).variance)
        variance_a, variance_b = variance_a or both, variance_b or both
    square_a, square_b = variance_a / control.n, variance_b / treatment.n
    if relative and (reason := undefined_baseline(a, square_a)):
        return Difference(relative, *means, n, reason=reason)
    return Difference(
        relative,
        a,
        b,
        n,
        value=(b - a) / a if relative else b - a,
        variance=relative_variance(a, square_a, b, square_b) if relative else square_a + square_b,
        degrees_of_freedom=welch_degrees_of_freedom(square_a, control.n, square_b, treatment.n),
        effect_size=(b - a) / math.sqrt(pooled) if pooled else None,
    )


def relative_variance(a: float, square_a: float, b: float, square_b: float) -> float:
    """Variance of b / a by the delta method, from the means and their squared standard errors."""
    return square_b / a**2 + square_a * b**2 / a**4


def welch_degrees_of_freedom(square_a: float, n_a: float, square_b: float, n_b: float) -> float:
    """Welch (1947) and Satterthwaite (1946), from squared standard errors."""
    # Through shares: the squares of tiny variances would underflow to 0 / 0.
    share = square_a / (square_a + square_b)
    return 1.0 / (share**2 / (n_a - 1) + (1.0 - share) ** 2 / (n_b - 1))


def undefined_means(control: Sums, treatment: Sums) -> str | None:
    """Why there is no variance to test two means with, or None."""
    for arm, sums in (("control", control), ("treatment", treatment)):
        if sums.variance is None:
            return too_few(arm, sums.n)
        if sums.variance < 0:
            return f"{arm}: the sums contradict each other (sum of squares below sum^2 / n)"
    if not (both := control + treatment).variance:
        return f"zero variance: all {both.n} users of both arms have the same value"
    return None


def too_few(arm: str, n: int) -> str:
    """The reason for an arm without a variance."""
    return f"{arm}: no users" if n == 0 else f"{arm}: one user, which has no variance"


def undefined_baseline(control: float | None, square: float) -> str | None:
    """Why a relative difference from `control`, whose squared standard error is `square`, is undefined, or None."""
    if control is None or control <= 0:
        return f"control is {control}: a relative difference needs a control above 0"
    errors = control / math.sqrt(square)
    if errors < BASELINE_ERRORS:
        return (
            f"control is {control:.4g}, only {errors:.1f} standard errors above 0: a relative difference needs "
            f"{BASELINE_ERRORS:.0f}; the absolute one is defined"
        )
    return None


def check_alpha(alpha: float, name: str = "alpha") -> None:
    """ValueError unless 0 < alpha < 1."""
    if not 0 < alpha < 1:
        raise ValueError(f"{name} must be between 0 and 1, not {alpha!r}")


def defined(*values: float | None) -> tuple[float, ...]:
    """The values, of which none may be None any more."""
    found = tuple(value for value in values if value is not None)
    if len(found) != len(values):
        raise AssertionError("a value was expected to be defined")
    return found
