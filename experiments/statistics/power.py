"""How many users an experiment needs, what it can see with those it has, and how long that takes.

For a difference `effect` with standard error s, and c the standard errors that the test demands (t quantile of
1 - alpha / 2, or the always-valid boundary),

    power = P(T > c - effect / s) + P(T < -c - effect / s)

in Student's t approximation of the noncentral t (J. Cohen, "Statistical Power Analysis for the Behavioral Sciences",
1988, chapter 2), exact to the normal formula for large samples. For an always-valid test this is the power of the last
look alone, so a lower bound: an earlier look may decide already.

`effect` is absolute and in the metric's unit (a lift of 5 % on a mean of 0.2 is 0.01); `variance` is that of one user's
value, and with CUPED it is variance * (1 - correlation^2).

statsmodels' `TTestIndPower` knows one variance for both arms and no always-valid test: for variances of 1 and 4 in 200
and 50 users and an effect of 0.5 it says 0.70 with the pooled variance, where this says 0.387 and 40,000 simulated
Welch tests 0.392; importing it takes 0.4 s and 86 MB.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.special import ndtr, stdtr, stdtrit

from experiments.statistics.difference import check_alpha, welch_degrees_of_freedom
from experiments.statistics.sequential import boundary

_LARGEST = 1e15


@dataclass(frozen=True)
class PlannedTest:
    """The test that is planned for.

    Attributes:
        alpha: two-sided, before the correction for `comparisons`.
        comparisons: treatments compared with the control (Bonferroni, which Holm never exceeds).
        tuning_n: of an always-valid test; None plans Welch's t at a fixed sample.

    Raises:
        ValueError: alpha outside (0, 1), no comparison.
    """

    alpha: float = 0.05
    comparisons: int = 1
    tuning_n: float | None = None

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if self.comparisons < 1:
            raise ValueError(f"comparisons must be at least 1, not {self.comparisons!r}")

    @property
    def level(self) -> float:
        """alpha of one comparison."""
        return self.alpha / self.comparisons


@dataclass(frozen=True)
class Sizes:
    """Users that are needed, in the control, in one treatment, and in the two together."""

    control: int
    treatment: int

    @property
    def total(self) -> int:
        """Of the control and one treatment."""
        return self.control + self.treatment


@dataclass(frozen=True)
class DaysLeft:
    """Days to the planned sample: None, with the reason, where nobody arrives."""

    days: int | None
    reason: str | None = None


FIXED = PlannedTest()


def sample_size(
    effect: float,
    control_variance: float,
    treatment_variance: float | None = None,
    *,
    power: float = 0.8,
    test: PlannedTest = FIXED,
    treatment_per_control: float = 1.0,
) -> Sizes:
    """Fewest users by which an effect of this size is found with this power.

    Args:
        treatment_variance: the control's where None.
        treatment_per_control: users in a treatment for each user in the control.

    Raises:
        ValueError: an effect of 0, a variance or ratio not above 0, a power not between alpha and 1.
    """
    variances = _variances(control_variance, treatment_variance)
    _check_effect(effect)
    _check_power(power, test)
    _positive("treatment_per_control", treatment_per_control)

    def short(n: float) -> float:
        return _power(effect, variances, (n, n * treatment_per_control), test) - power

    # At least two users in an arm, or there is no variance.
    low = 2.0 / min(1.0, treatment_per_control)
    n = low if short(low) >= 0 else _crossing(short, low)
    return Sizes(math.ceil(n), math.ceil(n * treatment_per_control))


def sample_size_proportion(
    baseline: float,
    effect: float,
    *,
    power: float = 0.8,
    test: PlannedTest = FIXED,
    treatment_per_control: float = 1.0,
) -> Sizes:
    """`sample_size` for a rate (one 0 or 1 a user), whose variance is p (1 - p) in each arm.

    Raises:
        ValueError: as `sample_size`; a baseline, or baseline + effect, not between 0 and 1.
    """
    for name, rate in (("baseline", baseline), ("baseline + effect", baseline + effect)):
        if not 0 < rate < 1:
            raise ValueError(f"{name} must be between 0 and 1, not {rate!r}")
    changed = baseline + effect
    return sample_size(
        effect,
        baseline * (1 - baseline),
        changed * (1 - changed),
        power=power,
        test=test,
        treatment_per_control=treatment_per_control,
    )


def power_at(
    effect: float,
    control_variance: float,
    n_control: int,
    n_treatment: int,
    treatment_variance: float | None = None,
    *,
    test: PlannedTest = FIXED,
) -> float:
    """Chance that the test finds an effect of this size with these users.

    Raises:
        ValueError: an effect of 0, a variance not above 0, fewer than two users in an arm.
    """
    _check_effect(effect)
    _check_sizes(n_control, n_treatment)
    return _power(effect, _variances(control_variance, treatment_variance), (n_control, n_treatment), test)


def minimum_detectable_effect(
    control_variance: float,
    n_control: int,
    n_treatment: int,
    treatment_variance: float | None = None,
    *,
    power: float = 0.8,
    test: PlannedTest = FIXED,
) -> float:
    """Smallest absolute effect that these users find with this power.

    Raises:
        ValueError: as `power_at`; a power not between alpha and 1.
    """
    variances = _variances(control_variance, treatment_variance)
    _check_sizes(n_control, n_treatment)
    _check_power(power, test)
    sizes = (float(n_control), float(n_treatment))
    error = math.sqrt(variances[0] / n_control + variances[1] / n_treatment)
    # In standard errors: its scale is then the same for any metric.
    return error * _crossing(lambda steps: _power(steps * error, variances, sizes, test) - power, 1e-9)


def days_left(needed: int, present: int, users_per_day: float) -> DaysLeft:
    """Whole days until `needed` users are there, at the rate at which new users arrive."""
    if not math.isfinite(users_per_day) or users_per_day < 0:
        raise ValueError(f"users_per_day must be a number from 0, not {users_per_day!r}")
    if present >= needed:
        return DaysLeft(0)
    if users_per_day == 0:
        return DaysLeft(None, f"no new users arrive, and {needed - present} are missing")
    return DaysLeft(math.ceil((needed - present) / users_per_day))


def _power(effect: float, variances: tuple[float, float], sizes: tuple[float, float], test: PlannedTest) -> float:
    square_c, square_t = variances[0] / sizes[0], variances[1] / sizes[1]
    steps = abs(effect) / math.sqrt(square_c + square_t)
    if test.tuning_n is not None:
        demanded = boundary(sum(sizes), test.level, test.tuning_n)
        return float(ndtr(steps - demanded) + ndtr(-steps - demanded))
    freedom = welch_degrees_of_freedom(square_c, sizes[0], square_t, sizes[1])
    demanded = float(stdtrit(freedom, 1.0 - test.level / 2.0))
    return float(stdtr(freedom, steps - demanded) + stdtr(freedom, -steps - demanded))


def _crossing(short: Callable[[float], float], low: float) -> float:
    """Where `short` rises through 0 above `low`."""
    high = max(2.0 * low, 1.0)
    while short(high) < 0:
        high *= 4.0
        if high > _LARGEST:
            raise ValueError("effect: too small against the variance, no number of users finds it")
    from scipy.optimize import brentq  # dear to import: 0.15 s

    return float(brentq(short, low, high, rtol=1e-12))


def _variances(control: float, treatment: float | None) -> tuple[float, float]:
    found = control, control if treatment is None else treatment
    _positive("control_variance", found[0])
    _positive("treatment_variance", found[1])
    return found


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be above 0, not {value!r}")


def _check_effect(effect: float) -> None:
    if not math.isfinite(effect) or effect == 0:
        raise ValueError(f"effect must be a number other than 0, not {effect!r}")


def _check_sizes(n_control: int, n_treatment: int) -> None:
    for name, n in (("n_control", n_control), ("n_treatment", n_treatment)):
        if n < 2:
            raise ValueError(f"{name} must be at least 2, not {n!r}")


def _check_power(power: float, test: PlannedTest) -> None:
    # Without any effect the test is positive with chance alpha: less power than that cannot be planned.
    if not test.level < power < 1:
        raise ValueError(f"power must be between alpha and 1, not {power!r}")
