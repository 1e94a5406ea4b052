"""Welch's t: unequal variances, fixed sample, two-sided.

Source: B. L. Welch, "The generalization of Student's problem when several different population variances are
involved", Biometrika 34 (1947). It holds for one look at a sample size fixed beforehand; whoever looks again and again
wants `experiments.statistics.sequential`.
"""

import math

from scipy.special import stdtr, stdtrit

from experiments.statistics.difference import Comparison, Difference, check_alpha, defined


def welch_test(difference: Difference, alpha: float = 0.05) -> Comparison:
    """Estimate, 1 - alpha interval and p-value for no difference."""
    check_alpha(alpha)
    if difference.reason is not None:
        return Comparison("welch", alpha, difference.relative, reason=difference.reason)
    value, variance, freedom = defined(difference.value, difference.variance, difference.degrees_of_freedom)
    error = math.sqrt(variance)
    width = float(stdtrit(freedom, 1.0 - alpha / 2.0)) * error
    return Comparison(
        "welch",
        alpha,
        difference.relative,
        estimate=value,
        standard_error=error,
        interval=(value - width, value + width),
        p_value=float(2.0 * stdtr(freedom, -abs(value) / error)),
        effect_size=difference.effect_size,
    )
