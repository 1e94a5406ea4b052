"""All results of an experiment from the sums of its variants: values, comparisons, health, plan and decision.

The first variant is the control. Absolute differences decide (they are defined earlier than relative ones); relative
differences, CUPED and the other test are shown beside them. The primary metric's p-values are corrected by Holm over
the treatments; those of all metrics and treatments together, which are only looked at, by Benjamini and Hochberg.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scipy.special import stdtrit

from experiments.bandit import ADAPTIVE_WARNING
from experiments.decision import Decision, DecisionRule, Guardrail, GuardrailState, Treatment, decide
from experiments.statistics.difference import Comparison, Difference, too_few
from experiments.statistics.multiple_comparisons import benjamini_hochberg
from experiments.statistics.power import PlannedTest, days_left, minimum_detectable_effect, power_at, sample_size
from experiments.statistics.ratio import ratio, ratio_variance
from experiments.statistics.sample_ratio import SampleRatio, sample_ratio_test
from experiments.statistics.sequential import DEFAULT_TUNING_N, always_valid_test
from experiments.statistics.sums import PairSums
from experiments.statistics.welch import welch_test
from experiments.user_metrics import METRICS, Metric
from experiments.user_totals import VariantSums

SMALLEST_BASIS = 100
"""Users of the control from which its variance is good enough to plan with."""


@dataclass(frozen=True)
class Design:
    """What was fixed before the first look.

    Attributes:
        variants: names, the control first.
        periods: (users that were there already, weights), oldest first; more than one for a bandit.
        metrics: the metrics to be shown.
        guardrails: (metric, margin).
        always_valid: whether the decision may be taken at any time.
        planned_effect: absolute; None where nothing was planned.
        planned_users: users that each variant is planned to have.
    """

    variants: tuple[str, ...]
    periods: tuple[tuple[int, tuple[float, ...]], ...]
    primary: str
    metrics: tuple[str, ...]
    guardrails: tuple[tuple[str, float], ...] = ()
    always_valid: bool = True
    alpha: float = 0.05
    planned_effect: float | None = None
    planned_users: int | None = None
    power: float = 0.8
    minimum_days: float = 7.0
    minimum_users: int = 100
    maximum_days: float | None = 28.0
    bandit: bool = False


@dataclass(frozen=True)
class Value:
    """A metric of one variant with its interval; None, with the reason, where undefined."""

    value: float | None
    interval: tuple[float, float] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class ArmReport:
    """One variant. `mixed` users saw another variant too, and count nowhere else."""

    name: str
    users: int
    simulated: int
    mixed: int
    lists: int
    events: int
    metrics: dict[str, Value]


@dataclass(frozen=True)
class Adjusted:
    """A difference adjusted by what users did before (CUPED)."""

    absolute: Comparison
    theta: float
    correlation: float | None
    reason: str | None


@dataclass(frozen=True)
class MetricComparison:
    """One metric of one treatment against the control.

    Attributes:
        decides: the absolute comparison by the method that was fixed.
        relative: the same, as a share of the control.
        other: the absolute comparison by the method that was not.
        cuped: the absolute comparison, adjusted.
        adjusted_p_value: over all metrics and treatments, by Benjamini and Hochberg.
    """

    metric: str
    variant: str
    decides: Comparison
    relative: Comparison
    other: Comparison
    cuped: Adjusted
    adjusted_p_value: float | None


@dataclass(frozen=True)
class GuardrailResult:
    """One guardrail of one treatment, as the decision reads it.

    Attributes:
        margin: how much worse is tolerated, absolute.
        state: safe, broken, unproven or undefined (`experiments.decision.Guardrail`).
        absolute: treatment against control.
    """

    metric: str
    variant: str
    margin: float
    state: GuardrailState
    absolute: Comparison


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


@dataclass(frozen=True)
class Report:
    """All results of an experiment after `days`."""

    days: float
    arms: list[ArmReport]
    comparisons: list[MetricComparison]
    guardrails: list[GuardrailResult]
    sample_ratio: SampleRatio
    plan: Plan
    decision: Decision
    warnings: list[str] = field(default_factory=list)


def report(design: Design, sums: Mapping[str, VariantSums], days: float, notes: Sequence[str] = ()) -> Report:
    """The results after `days`.

    Args:
        sums: the sums of each variant (`experiments.user_totals`).
        notes: what to pass on as warnings.
    """
    warnings = [*notes]
    if design.bandit and len(design.periods) > 1:
        warnings.append(ADAPTIVE_WARNING)
    mixed = sum(sums[name].get("mixed", 0) for name in design.variants)
    if mixed:
        warnings.append(f"{mixed} users saw more than one variant and are left out")
    simulated = sum(sums[name].get("simulated", 0) for name in design.variants)
    users = sum(sums[name].get("n", 0) for name in design.variants)
    if 0 < simulated < users:
        warnings.append(f"{simulated} of {users} users are simulated")
    ratios = sample_ratio_test(
        [sums[name].get("n", 0) + sums[name].get("mixed", 0) for name in design.variants],
        expected_weights(design, users + mixed),
    )
    comparisons = compare_all(design, sums)
    plan = make_plan(design, sums, days)
    treatments = _treatments(design, sums, comparisons)
    control_users = sums[design.variants[0]].get("n", 0)
    decided = decide(_rule(design, plan), days, control_users, treatments, ratios, warnings)
    guardrails = [
        GuardrailResult(one.metric, treatment.name, one.margin, one.state, one.comparison)
        for treatment in treatments
        for one in treatment.guardrails
    ]
    arms = [
        ArmReport(
            name,
            users=sums[name].get("n", 0),
            simulated=sums[name].get("simulated", 0),
            mixed=sums[name].get("mixed", 0),
            lists=sums[name].get("lists", 0),
            events=sums[name].get("events", 0),
            metrics={metric: value_of(METRICS[metric], sums[name], design.alpha) for metric in design.metrics},
        )
        for name in design.variants
    ]
    return Report(days, arms, comparisons, guardrails, ratios, plan, decided, list(decided.warnings))


def value_of(metric: Metric, variant: Mapping[str, int], alpha: float = 0.05) -> Value:
    """A metric of one variant, with Student's t interval over users (a ratio's by the delta method)."""
    sums = metric.sums(variant)
    if metric.denominator is not None and sums.n and not sums.other_total:
        return Value(None, reason=f"nothing to divide by: the sum of {metric.denominator} is 0")
    value = sums.main.mean if metric.denominator is None else ratio(sums)
    if sums.n < 2 or value is None:
        return Value(value, reason=too_few("variant", sums.n))
    variance = _variance(metric, sums)
    if variance <= 0:
        return Value(value, reason="zero variance: all users have the same value")
    width = float(stdtrit(sums.n - 1, 1.0 - alpha / 2.0)) * math.sqrt(variance / sums.n)
    return Value(value, (value - width, value + width))


def compare_all(design: Design, sums: Mapping[str, VariantSums]) -> list[MetricComparison]:
    """Every metric of every treatment against the control."""
    control = sums[design.variants[0]]
    names = dict.fromkeys((design.primary, *design.metrics, *(name for name, _ in design.guardrails)))
    found = []
    for name in names:
        metric = METRICS[name]
        for variant in design.variants[1:]:
            absolute = metric.difference(control, sums[variant], relative=False)
            adjusted = metric.adjusted(control, sums[variant], relative=False)
            found.append(
                MetricComparison(
                    metric=name,
                    variant=variant,
                    decides=compare(design, absolute),
                    relative=compare(design, metric.difference(control, sums[variant], relative=True)),
                    other=compare(design, absolute, other=True),
                    cuped=Adjusted(
                        compare(design, adjusted.difference), adjusted.theta, adjusted.correlation, adjusted.reason
                    ),
                    adjusted_p_value=None,
                )
            )
    p_values = benjamini_hochberg([one.decides.p_value for one in found])
    return [
        MetricComparison(one.metric, one.variant, one.decides, one.relative, one.other, one.cuped, p)
        for one, p in zip(found, p_values, strict=True)
    ]


def compare(design: Design, difference: Difference, other: bool = False) -> Comparison:
    """The comparison by the method that was fixed, or by the other one."""
    if design.always_valid != other:
        return always_valid_test(difference, design.alpha, tuning_n(design))
    return welch_test(difference, design.alpha)


def tuning_n(design: Design) -> float:
    """Users near which the always-valid interval shall be tightest: a treatment's and the control's planned ones."""
    return DEFAULT_TUNING_N if design.planned_users is None else 2.0 * design.planned_users


def expected_weights(design: Design, users: int) -> list[float]:
    """The weights under which the users came, on average."""
    if users == 0:
        return list(design.periods[-1][1])
    ends = [min(begin, users) for begin, _ in design.periods[1:]] + [users]
    totals = [0.0] * len(design.variants)
    for (begin, weights), end in zip(design.periods, ends, strict=True):
        for place, weight in enumerate(weights):
            totals[place] += weight * max(0, end - min(begin, users))
    return [total / users for total in totals]


def make_plan(design: Design, sums: Mapping[str, VariantSums], days: float) -> Plan:
    """The plan: what the users so far can show."""
    metric = METRICS[design.primary]
    control = metric.sums(sums[design.variants[0]])
    fewest = min(sums[name].get("n", 0) for name in design.variants)
    planned = design.planned_users
    if control.n < SMALLEST_BASIS or fewest < 2:
        reason = f"the control has {control.n} users: from {SMALLEST_BASIS} on its variance is good enough to plan with"
        return Plan(planned, reason=reason)
    variance = 0.0 if metric.denominator is not None and not control.other_total else _variance(metric, control)
    if variance <= 0:
        return Plan(planned, reason="zero variance in the control")
    planned_test = PlannedTest(
        design.alpha, len(design.variants) - 1, tuning_n(design) if design.always_valid else None
    )
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


def _treatments(
    design: Design, sums: Mapping[str, VariantSums], comparisons: Sequence[MetricComparison]
) -> list[Treatment]:
    """Each treatment as the decision reads it."""
    found = {(one.metric, one.variant): one.decides for one in comparisons}
    return [
        Treatment(
            name,
            users=sums[name].get("n", 0),
            primary=found[design.primary, name],
            guardrails=tuple(
                Guardrail(metric, found[metric, name], METRICS[metric].higher_is_better, margin)
                for metric, margin in design.guardrails
            ),
        )
        for name in design.variants[1:]
    ]


def _rule(design: Design, plan: Plan) -> DecisionRule:
    return DecisionRule(
        alpha=design.alpha,
        minimum_days=design.minimum_days,
        minimum_users=design.minimum_users,
        maximum_days=design.maximum_days,
        planned_users=plan.users,
        higher_is_better=METRICS[design.primary].higher_is_better,
    )


def _variance(metric: Metric, sums: PairSums) -> float:
    """n times the squared standard error."""
    if metric.denominator is not None:
        return ratio_variance(sums)
    return sums.main.variance or 0.0
