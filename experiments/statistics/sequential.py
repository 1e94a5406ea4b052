"""Always-valid comparison: look as often as you like, stop when you like, and alpha still holds.

Source: the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central
limit theory and asymptotic confidence sequences", arXiv 2103.06476 (normal mixture). With n users in both arms, s the
standard error of the estimate at n, and rho > 0 fixed beforehand, the interval is

    estimate -+ s sqrt(2 (n rho^2 + 1) / (n rho^2) * log(sqrt(n rho^2 + 1) / alpha))

and the p-value is the alpha at which the interval ends at 0. rho is chosen to make the interval tightest near
`tuning_n` users: rho^2 = (-2 log alpha + log(-2 log alpha + 1)) / tuning_n. As GrowthBook does it.

It is asymptotic: the variance is estimated, so very few users (tens in an arm, or a handful of conversions) are not
covered by the guarantee. `experiments.decision` has a minimum sample for that.
"""

import math

from experiments.statistics.difference import Comparison, Difference, check_alpha, defined

DEFAULT_TUNING_N = 5000


def always_valid_test(
    difference: Difference, alpha: float = 0.05, tuning_n: float = DEFAULT_TUNING_N, level: float | None = None
) -> Comparison:
    """Estimate, always-valid interval and p-value.

    Args:
        tuning_n: users (both arms) near which the 1 - alpha interval shall be tightest; fix it before the first look.
        level: 1 - the interval's confidence, where it is not alpha. The p-value stays the same.
    """
    spread = mixture_variance(alpha, tuning_n)
    level = alpha if level is None else level
    check_alpha(level, "level")
    if difference.reason is not None:
        return Comparison("always_valid", level, difference.relative, reason=difference.reason)
    value, variance = defined(difference.value, difference.variance)
    error = math.sqrt(variance)
    grown = difference.n * spread
    width = math.sqrt(2.0 * (grown + 1.0) / grown * (0.5 * math.log1p(grown) - math.log(level))) * error
    log_p = 0.5 * math.log1p(grown) - (value / error) ** 2 * grown / (2.0 * (grown + 1.0))
    return Comparison(
        "always_valid",
        level,
        difference.relative,
        estimate=value,
        standard_error=error,
        interval=(value - width, value + width),
        p_value=math.exp(min(0.0, log_p)),
        effect_size=difference.effect_size,
    )


def boundary(n: float, alpha: float, tuning_n: float) -> float:
    """Standard errors from the estimate to either end of the interval at n users; 1.96's always-valid counterpart."""
    grown = n * mixture_variance(alpha, tuning_n)
    return math.sqrt(2.0 * (grown + 1.0) / grown * (0.5 * math.log1p(grown) - math.log(alpha)))


def mixture_variance(alpha: float, tuning_n: float) -> float:
    """rho^2, by which the boundary is tightest near `tuning_n` users.

    Raises:
        ValueError: alpha outside (0, 1) or tuning_n not above 0.
    """
    check_alpha(alpha)
    if not (math.isfinite(tuning_n) and tuning_n > 0):
        raise ValueError(f"tuning_n must be above 0, not {tuning_n!r}")
    doubled = -2.0 * math.log(alpha)
    return (doubled + math.log(doubled + 1.0)) / tuning_n
