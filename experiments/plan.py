"""What the users of an experiment can show on its primary metric, and how many it needs."""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.design import Design
from experiments.statistics.power import PlannedTest, days_left, minimum_detectable_effect, power_at, sample_size
from experiments.statistics.ratio import ratio_variance
from experiments.statistics.sums import PairSums
from experiments.user_metrics import METRICS, Metric
from experiments.user_totals import VariantSums

SMALLEST_BASIS = 100
"""Users of the control from which its variance is good enough to plan with."""
NOTHING_TO_COMPARE = "the control and a treatment need a weight: there is nothing to compare"


@dataclass(frozen=True)
class ExperimentPlan:
    """What the users can show, on the primary metric; None, with the reason, where undefined.

    Attributes:
        users: how many users each variant needs.
        power: the chance to find the planned effect with the users of now.
        minimum_detectable_effect: absolute, with the users of now and the planned power.
        days_left: until the planned users are there, at the rate so far.
    """

    users: int | None = None
    power: float | None = None
    minimum_detectable_effect: float | None = None
    days_left: int | None = None
    reason: str | None = None


def make_plan(design: Design, sums: Mapping[str, VariantSums], days: float) -> ExperimentPlan:
    """The plan: what the users so far can show."""
    planned = design.read_at
    if not design.treatments:
        return ExperimentPlan(planned, reason=NOTHING_TO_COMPARE)
    control = METRICS[design.primary].sums(sums[design.variants[0]])
    fewest = min(sums[name].get("n", 0) for name in design.live)
    if control.n < SMALLEST_BASIS or fewest < 2:
        reason = f"the control has {control.n} users: from {SMALLEST_BASIS} on its variance is good enough to plan with"
        return ExperimentPlan(planned, reason=reason)
    variance = _control_variance(design, sums)
    if variance <= 0:
        return ExperimentPlan(planned, reason="zero variance in the control")
    if planned is None:
        planned = needed_users(design, sums)
    power = None
    if design.planned_effect is not None:
        power = power_at(design.planned_effect, variance, fewest, fewest, test=_planned_test(design))
    left = None
    if planned is not None and days > 0:
        left = days_left(planned, fewest, fewest / days).days
    return ExperimentPlan(
        users=planned,
        power=power,
        minimum_detectable_effect=minimum_detectable_effect(
            variance, fewest, fewest, power=design.power, test=_planned_test(design)
        ),
        days_left=left,
        reason=None if design.planned_effect is not None else "no effect was planned, so there is no power to find it",
    )


def needed_users(design: Design, sums: Mapping[str, VariantSums]) -> int | None:
    """Users of each variant by which the planned effect is found, by the variance of the control's users so far.

    To be asked once and kept (an internal pilot: Wittes and Brittain, "The role of internal pilot studies in increasing
    the efficiency of clinical trials", Statistics in Medicine 9, 1990): it looks at the variance of one arm and at no
    difference, so it leaves the later test's errors as they are. Made anew at each look it would move the end.

    Returns:
        None where no effect was planned, where the control has fewer than `SMALLEST_BASIS` users or no variance, or
        where no number of users is enough.
    """
    if design.planned_effect is None or not design.treatments:
        return None
    variance = _control_variance(design, sums)
    if sums[design.variants[0]].get("n", 0) < SMALLEST_BASIS or variance <= 0:
        return None
    test = _planned_test(design)
    try:
        return sample_size(design.planned_effect, variance, power=design.power, test=test).control
    except ValueError:
        return None


def _planned_test(design: Design) -> PlannedTest:
    return PlannedTest(design.alpha, len(design.treatments), design.tuning_n if design.always_valid else None)


def _control_variance(design: Design, sums: Mapping[str, VariantSums]) -> float:
    metric = METRICS[design.primary]
    control = metric.sums(sums[design.variants[0]])
    if control.n < 2 or (metric.denominator is not None and not control.other_total):
        return 0.0
    return user_variance(metric, control)


def user_variance(metric: Metric, sums: PairSums) -> float:
    """n times the squared standard error."""
    if metric.denominator is not None:
        return ratio_variance(sums)
    return sums.main.variance or 0.0
