"""Ratio metrics: sum of numerators over sum of denominators, with the user as the unit.

Clicks per impression is such a metric: users are assigned, impressions are not, and those of one user go together. So
a proportion test over impressions would be too sure of itself. By the delta method (Deng, Knoblich and Lu, KDD 2018)
with m, d the users' means,

    Var(m / d) ~ (Var(x) - 2 (m / d) Cov(x, y) + (m / d)^2 Var(y)) / (n d^2)

That takes each user as a small part of the whole. A user with the share s of an arm's denominators draws the ratio
towards his own, and his residual vanishes: he alone makes a difference of 1 / (1 - s) standard errors, significant by
any test once s is large enough. Up to `LARGEST_SHARE` it is at most 1.25, by which no test calls a difference
significant; beyond it the ratio is undefined.

How much one user may hold follows from the sums: of n values the largest is at most mean + sqrt(n - 1) standard
deviations (P. A. Samuelson, "How Deviant Can You Be?", JASA 63, 1968; over n, not n - 1), and is just that where all
others are alike.
"""

import math

from experiments.statistics.difference import (
    Difference,
    defined,
    relative_variance,
    too_few,
    undefined_baseline,
    welch_degrees_of_freedom,
)
from experiments.statistics.sums import ROUNDING, PairSums

LARGEST_SHARE = 0.2
"""Share of the denominators of an arm from which on one user decides the ratio."""
TOLD_SHARE = 0.1
"""Share from which on one user is worth a warning."""


def ratio(sums: PairSums) -> float | None:
    """Sum of numerators over sum of denominators; None where the denominators sum to 0."""
    return sums.total / sums.other_total if sums.other_total else None


def ratio_difference(control: PairSums, treatment: PairSums, relative: bool) -> Difference:
    """Difference of two ratios (`main` over `other`), undefined with the reason."""
    ratios = ratio(control), ratio(treatment)
    n = control.n + treatment.n
    if (reason := undefined_ratios(control, treatment)) is not None:
        return Difference(relative, *ratios, n, reason=reason)
    a, b = defined(*ratios)
    both = ratio_variance(control + treatment)
    square_a = (ratio_variance(control) or both) / control.n
    square_b = (ratio_variance(treatment) or both) / treatment.n
    if relative and (reason := undefined_baseline(a, square_a)):
        return Difference(relative, *ratios, n, reason=reason)
    return Difference(
        relative,
        a,
        b,
        n,
        value=(b - a) / a if relative else b - a,
        variance=relative_variance(a, square_a, b, square_b) if relative else square_a + square_b,
        degrees_of_freedom=welch_degrees_of_freedom(square_a, control.n, square_b, treatment.n),
    )


def ratio_variance(sums: PairSums) -> float:
    """n times the squared standard error of the ratio; 0 where it is within rounding. Needs two users and a ratio."""
    value, spread, other_spread, products = defined(
        ratio(sums), sums.main.variance, sums.other.variance, sums.covariance
    )
    terms = spread, -2.0 * value * products, value**2 * other_spread
    # Users who all have the same ratio leave a difference of equal terms: rounding, not variance.
    if abs(sum(terms)) <= ROUNDING * sum(abs(term) for term in terms):
        return 0.0
    return sum(terms) / (sums.other_total / sums.n) ** 2


def largest_share(sums: PairSums) -> float | None:
    """Most that one user can hold of the denominators, by Samuelson's bound; None where they sum to 0."""
    if sums.n == 0 or sums.other_total <= 0:
        return None
    mean = sums.other_total / sums.n
    spread = max(0.0, sums.other_squares / sums.n - mean * mean)
    return min(1.0, (1.0 + math.sqrt(spread * (sums.n - 1)) / mean) / sums.n)


def one_user_decides(sums: PairSums) -> bool:
    """Whether a single user may hold too much of the denominators; among a handful, more than twice an equal share."""
    share = largest_share(sums)
    return share is not None and share > max(LARGEST_SHARE, 2.0 / sums.n)


def undefined_ratios(control: PairSums, treatment: PairSums) -> str | None:
    """Why two ratios have no variance to test with, or one is that of one user; else None. Where the users of one arm
    all have the same ratio, it varies as those of both together (`difference`)."""
    reason = _undefined_ratio("control", control) or _undefined_ratio("treatment", treatment)
    if reason is None and ratio_variance(both := control + treatment) == 0:
        return f"zero variance: all {both.n} users of both arms have the same ratio"
    return reason


def _undefined_ratio(arm: str, sums: PairSums) -> str | None:
    if sums.n < 2:
        return too_few(arm, sums.n)
    if sums.other_total == 0:
        return f"{arm}: the denominators sum to 0"
    variance = ratio_variance(sums)
    if variance < 0:
        return f"{arm}: the sums contradict each other (negative variance)"
    if one_user_decides(sums):
        return (
            f"{arm}: one user may hold {largest_share(sums):.0%} of what the ratio is taken over, and would decide it; "
            f"at most {LARGEST_SHARE:.0%} may"
        )
    return None
