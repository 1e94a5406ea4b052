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
class Plan:
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


def make_plan(design: Design, sums: Mapping[str, VariantSums], days: float) -> Plan:
    """The plan: what the users so far can show."""
    metric = METRICS[design.primary]
    control = metric.sums(sums[design.variants[0]])
    planned = design.planned_users
    if not design.treatments:
        return Plan(planned, reason=NOTHING_TO_COMPARE)
    fewest = min(sums[name].get("n", 0) for name in design.live)
    if control.n < SMALLEST_BASIS or fewest < 2:
        reason = f"the control has {control.n} users: from {SMALLEST_BASIS} on its variance is good enough to plan with"
        return Plan(planned, reason=reason)
    variance = 0.0 if metric.denominator is not None and not control.other_total else user_variance(metric, control)
    if variance <= 0:
        return Plan(planned, reason="zero variance in the control")
    planned_test = PlannedTest(design.alpha, len(design.treatments), design.tuning_n if design.always_valid else None)
    power = None
    if design.planned_effect is not None:
        power = power_at(design.planned_effect, variance, fewest, fewest, test=planned_test)
        if planned is None:
            try:
                planned = sample_size(design.planned_effect, variance, power=design.power, test=planned_test).control
            except ValueError:
                planned = None
    left = None
    if planned is not None and days > 0:
        left = days_left(planned, fewest, fewest / days).days
    return Plan(
        users=planned,
        power=power,
        minimum_detectable_effect=minimum_detectable_effect(
            variance, fewest, fewest, power=design.power, test=planned_test
        ),
        days_left=left,
        reason=None if design.planned_effect is not None else "no effect was planned, so there is no power to find it",
    )


def user_variance(metric: Metric, sums: PairSums) -> float:
    """n times the squared standard error."""
    if metric.denominator is not None:
        return ratio_variance(sums)
    return sums.main.variance or 0.0
