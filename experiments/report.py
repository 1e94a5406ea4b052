"""All results of an experiment from the sums of its variants: values, comparisons, health, plan and decision.

The first variant is the control. A variant that never had a weight takes no part. Absolute differences decide (they are
defined earlier than relative ones); relative differences, CUPED and the other test are shown beside them. The primary
metric's p-values are corrected by Holm over the treatments; those of all metrics and treatments together, which are
only looked at, by Benjamini and Hochberg.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from scipy.special import stdtrit

from experiments.bandit import ADAPTIVE_WARNING
from experiments.decision import Decision, DecisionRule, Guardrail, GuardrailState, Treatment, decide
from experiments.design import Design, expected_weights
from experiments.plan import NOTHING_TO_COMPARE, ExperimentPlan, make_plan, user_variance
from experiments.statistics.difference import Comparison, Difference, too_few
from experiments.statistics.multiple_comparisons import (
    benjamini_hochberg,
    false_coverage_levels,
    holm,
    holm_levels,
)
from experiments.statistics.ratio import LARGEST_SHARE, TOLD_SHARE, largest_share, ratio
from experiments.statistics.sample_ratio import SampleRatio, sample_ratio_test
from experiments.statistics.sequential import always_valid_test
from experiments.statistics.welch import welch_test
from experiments.user_metrics import METRICS, Metric
from experiments.user_totals import VariantSums


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


Interval = tuple[float, float]


@dataclass(frozen=True)
class AdjustedIntervals:
    """The intervals that agree with the adjusted p-value of the absolute comparison; None where undefined.

    Attributes:
        confidence: of each, as a share.
    """

    confidence: float
    absolute: Interval | None
    relative: Interval | None
    cuped: Interval | None


@dataclass(frozen=True)
class MetricComparison:
    """One metric of one treatment against the control. p-values and intervals of comparisons are unadjusted.

    Attributes:
        decides: the absolute comparison by the method that was fixed.
        relative: the same, as a share of the control.
        other: the absolute comparison by the method that was not.
        cuped: the absolute comparison, adjusted.
        adjusted_p_value: over all metrics and treatments, by Benjamini and Hochberg.
        adjusted: the intervals that go with it (`false_coverage_levels`).
    """

    metric: str
    variant: str
    decides: Comparison
    relative: Comparison
    other: Comparison
    cuped: Adjusted
    adjusted_p_value: float | None
    adjusted: AdjustedIntervals


@dataclass(frozen=True)
class PrimaryResult:
    """The primary metric of one treatment, as the decision reads it: corrected for several treatments by Holm.

    Attributes:
        absolute, relative: with the interval of Holm's step (`holm_levels`); their own p-values are unadjusted.
    """

    variant: str
    absolute: Comparison
    relative: Comparison
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
class Report:
    """All results of an experiment after `days`."""

    days: float
    arms: list[ArmReport]
    comparisons: list[MetricComparison]
    primary: list[PrimaryResult]
    guardrails: list[GuardrailResult]
    sample_ratio: SampleRatio
    plan: ExperimentPlan
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
    warnings += large_users(design, sums)
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
    primary = primary_results(design, sums)
    treatments = _treatments(design, sums, comparisons, primary)
    if treatments:
        control_users = sums[design.variants[0]].get("n", 0)
        decided = decide(_rule(design), days, control_users, treatments, ratios, warnings)
    else:
        ended = design.maximum_days is not None and days >= design.maximum_days
        decided = Decision("stop" if ended else "keep_running", None, NOTHING_TO_COMPARE, (), tuple(warnings))
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
    return Report(days, arms, comparisons, primary, guardrails, ratios, plan, decided, list(decided.warnings))


def value_of(metric: Metric, variant: Mapping[str, int], alpha: float = 0.05) -> Value:
    """A metric of one variant, with Student's t interval over users (a ratio's by the delta method)."""
    sums = metric.sums(variant)
    if metric.denominator is not None and sums.n and not sums.other_total:
        return Value(None, reason=f"nothing to divide by: the sum of {metric.denominator} is 0")
    value = sums.main.mean if metric.denominator is None else ratio(sums)
    if sums.n < 2 or value is None:
        return Value(value, reason=too_few("variant", sums.n))
    variance = user_variance(metric, sums)
    if variance <= 0:
        return Value(value, reason="zero variance: all users have the same value")
    width = float(stdtrit(sums.n - 1, 1.0 - alpha / 2.0)) * math.sqrt(variance / sums.n)
    return Value(value, (value - width, value + width))


def large_users(design: Design, sums: Mapping[str, VariantSums]) -> list[str]:
    """A warning for each arm in which one user may hold much of what the primary ratio is taken over."""
    metric = METRICS[design.primary]
    if metric.denominator is None:
        return []
    shares = {name: largest_share(metric.sums(sums[name])) for name in design.live}
    return [
        f"{name}: one user may hold {share:.0%} of the {metric.denominator}; beyond {LARGEST_SHARE:.0%} none is read"
        for name, share in shares.items()
        if share is not None and share > max(TOLD_SHARE, 2 / sums[name]["n"])
    ]


def compare_all(design: Design, sums: Mapping[str, VariantSums]) -> list[MetricComparison]:
    """Every metric of every treatment against the control."""
    control = sums[design.variants[0]]
    names = dict.fromkeys((design.primary, *design.metrics, *(name for name, _ in design.guardrails)))
    pairs = [(name, variant) for name in names for variant in design.treatments]
    absolute = [METRICS[name].difference(control, sums[variant], relative=False) for name, variant in pairs]
    p_values = [compare(design, one).p_value for one in absolute]
    levels = false_coverage_levels(p_values, design.alpha)
    found = []
    for (name, variant), difference, level, p in zip(
        pairs, absolute, levels, benjamini_hochberg(p_values), strict=True
    ):
        relative = METRICS[name].difference(control, sums[variant], relative=True)
        adjusted = METRICS[name].adjusted(control, sums[variant], relative=False)
        found.append(
            MetricComparison(
                metric=name,
                variant=variant,
                decides=compare(design, difference),
                relative=compare(design, relative),
                other=compare(design, difference, other=True),
                cuped=Adjusted(
                    compare(design, adjusted.difference), adjusted.theta, adjusted.correlation, adjusted.reason
                ),
                adjusted_p_value=p,
                adjusted=AdjustedIntervals(
                    1 - level,
                    *(
                        compare(design, one, level=level).interval
                        for one in (difference, relative, adjusted.difference)
                    ),
                ),
            )
        )
    return found


def primary_results(design: Design, sums: Mapping[str, VariantSums]) -> list[PrimaryResult]:
    """The primary metric of each treatment, with Holm's p-values and the intervals that agree with them."""
    control, metric = sums[design.variants[0]], METRICS[design.primary]
    absolute = [metric.difference(control, sums[name], relative=False) for name in design.treatments]
    p_values = [compare(design, one).p_value for one in absolute]
    levels = holm_levels(p_values, design.alpha)
    return [
        PrimaryResult(
            name,
            compare(design, difference, level=level),
            compare(design, metric.difference(control, sums[name], relative=True), level=level),
            p,
        )
        for name, difference, level, p in zip(design.treatments, absolute, levels, holm(p_values), strict=True)
    ]


def compare(design: Design, difference: Difference, other: bool = False, level: float | None = None) -> Comparison:
    """The comparison by the method that was fixed, or by the other one; `level` is 1 - the interval's confidence."""
    if design.always_valid != other:
        return always_valid_test(difference, design.alpha, design.tuning_n, level)
    return welch_test(difference, design.alpha if level is None else level)


def reading_due(design: Design, sums: Mapping[str, VariantSums], days: float) -> bool:
    """Whether a fixed-sample result is read now; from then on it has been read, and more users change nothing."""
    if not design.treatments:
        return False
    return _rule(design).due(days, min(sums[name].get("n", 0) for name in design.live))


def _treatments(
    design: Design,
    sums: Mapping[str, VariantSums],
    comparisons: Sequence[MetricComparison],
    primary: Sequence[PrimaryResult],
) -> list[Treatment]:
    """Each treatment as the decision reads it."""
    found = {(one.metric, one.variant): one for one in comparisons}
    watched = primary if design.always_valid else primary_results(replace(design, always_valid=True), sums)
    safety = {one.variant: one.absolute for one in watched}
    return [
        Treatment(
            result.variant,
            users=sums[result.variant].get("n", 0),
            primary=result.absolute,
            guardrails=tuple(
                Guardrail(
                    metric,
                    found[metric, result.variant].decides,
                    METRICS[metric].higher_is_better,
                    margin,
                    found[metric, result.variant].other,
                )
                for metric, margin in design.guardrails
            ),
            safety=safety[result.variant],
        )
        for result in primary
    ]


def _rule(design: Design) -> DecisionRule:
    return DecisionRule(
        alpha=design.alpha,
        minimum_days=design.minimum_days,
        minimum_users=design.minimum_users,
        maximum_days=design.maximum_days,
        planned_users=design.read_at,
        higher_is_better=METRICS[design.primary].higher_is_better,
    )
