"""Experiments and their results as the HTTP interface shows them. Undefined is null, with a reason beside it."""

from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, Field

from deployments.http.schemas import iso_time
from experiments.report import MetricComparison, PrimaryResult, Report
from experiments.user_metrics import METRICS
from features.experiments.experiment import Experiment

Traffic = Literal["real", "simulated", "mixed"]


class VariantSummary(BaseModel):
    """One variant in brief."""

    name: str
    model_version: str | None
    n: int = Field(description="users")
    value: float | None = Field(description="of the primary metric")
    interval: tuple[float, float] | None
    reason: str | None
    rates: dict[str, float | None] = Field(description="every metric that is shown")


class ComparisonSummary(BaseModel):
    """One treatment against the control, on the primary metric."""

    variant: str
    metric: str
    method: str
    difference: float | None
    confidence: float = Field(description="of the intervals; by Holm's step, so that they agree with the p-value")
    interval: tuple[float, float] | None
    relative_lift: float | None
    relative_interval: tuple[float, float] | None
    p_value: float | None = Field(description="corrected for several treatments (Holm)")
    significant: bool | None
    reason: str | None


class HealthSummary(BaseModel):
    """Whether the results mean anything."""

    status: Literal["ok", "unhealthy", "unknown"]
    sample_ratio_p_value: float | None = Field(description="always valid: by it the status is decided")
    mixed_users: int = Field(description="users who saw several variants; left out")
    warnings: list[str]


class ResultsSummary(BaseModel):
    """The latest experiment in brief; all null, with the reason, where there is none."""

    experiment: str | None
    status: str | None
    traffic: Traffic | None = Field(description="whom it was shown to; simulated users are no evidence of real ones")
    metric: str | None
    winner: str | None
    variants: list[VariantSummary]
    comparison: ComparisonSummary | None = Field(description="of the winner, else of the first treatment")
    comparisons: list[ComparisonSummary]
    health: HealthSummary
    recommendation: str = Field(description="ship, keep_running, stop or unhealthy")
    reason: str


def experiment_view(experiment: Experiment) -> dict[str, Any]:
    """An experiment with readable times; what it was read from is among its results."""
    times = {name: getattr(experiment, f"{name}_ms") for name in ("created", "started", "ended")}
    times["read"] = None if experiment.reading is None else experiment.reading.time_ms
    return {
        **experiment.model_dump(exclude={"reading"}),
        **{f"{name}_at": None if time_ms is None else iso_time(time_ms) for name, time_ms in times.items()},
    }


def traffic_of(results: Report) -> Traffic | None:
    """Whether simulated or real users saw an experiment; None while nobody did."""
    users, simulated = (sum(getattr(arm, name) for arm in results.arms) for name in ("users", "simulated"))
    if users == 0:
        return None
    return "real" if simulated == 0 else "simulated" if simulated == users else "mixed"


def results_view(experiment: Experiment, results: Report) -> dict[str, Any]:
    """All results of an experiment, as the HTTP interface shows them."""
    return {
        "experiment": experiment.id,
        "hypothesis": experiment.hypothesis,
        "status": experiment.status,
        "traffic": traffic_of(results),
        "primary_metric": experiment.primary_metric,
        "method": experiment.method,
        "alpha": experiment.alpha,
        "days": results.days,
        "bandit": experiment.bandit is not None,
        "decision": asdict(results.decision),
        "variants": [
            {
                **asdict(arm),
                "control": place == 0,
                "weight": experiment.weights[place],
                "expected_users": results.sample_ratio.expected[place],
                "slot": experiment.slots.get(arm.name),
                "model_version": experiment.versions.get(arm.name),
            }
            for place, arm in enumerate(results.arms)
        ],
        "comparisons": [_comparison(one) for one in results.comparisons],
        "primary": [asdict(one) for one in results.primary],
        "guardrails": [asdict(one) for one in results.guardrails],
        "sample_ratio": asdict(results.sample_ratio),
        "plan": asdict(results.plan),
        "metrics": {
            name: {"kind": METRICS[name].kind, "meaning": METRICS[name].meaning} for name in experiment.metrics
        },
        "warnings": results.warnings,
    }


def summary(experiment: Experiment | None, results: Report | None) -> ResultsSummary:
    """The latest experiment in the short form that dashboards read."""
    if experiment is None or results is None:
        return ResultsSummary(
            experiment=None,
            status=None,
            traffic=None,
            metric=None,
            winner=None,
            variants=[],
            comparison=None,
            comparisons=[],
            health=HealthSummary(status="unknown", sample_ratio_p_value=None, mixed_users=0, warnings=[]),
            recommendation="none",
            reason="no experiment has been started yet",
        )
    decision = results.decision
    comparisons = [_brief(one, experiment) for one in results.primary]
    first = comparisons[0] if comparisons else None
    chosen = next((one for one in comparisons if one.variant == decision.winner), first)
    p_ratio = results.sample_ratio.always_valid_p_value
    return ResultsSummary(
        experiment=experiment.id,
        status=experiment.status,
        traffic=traffic_of(results),
        metric=experiment.primary_metric,
        winner=decision.winner,
        variants=[
            VariantSummary(
                name=arm.name,
                model_version=experiment.versions.get(arm.name),
                n=arm.users,
                value=arm.metrics[experiment.primary_metric].value,
                interval=arm.metrics[experiment.primary_metric].interval,
                reason=arm.metrics[experiment.primary_metric].reason,
                rates={name: value.value for name, value in arm.metrics.items()},
            )
            for arm in results.arms
        ],
        comparison=chosen,
        comparisons=comparisons,
        health=HealthSummary(
            status="unhealthy" if decision.action == "unhealthy" else "ok" if p_ratio is not None else "unknown",
            sample_ratio_p_value=p_ratio,
            mixed_users=sum(arm.mixed for arm in results.arms),
            warnings=results.warnings,
        ),
        recommendation=decision.action,
        reason=decision.reason,
    )


def _comparison(one: MetricComparison) -> dict[str, Any]:
    return {
        "metric": one.metric,
        "variant": one.variant,
        "absolute": asdict(one.decides),
        "relative": asdict(one.relative),
        "other_method": asdict(one.other),
        "cuped": asdict(one.cuped),
        "adjusted_p_value": one.adjusted_p_value,
        "adjusted_intervals": asdict(one.adjusted),
    }


def _brief(one: PrimaryResult, experiment: Experiment) -> ComparisonSummary:
    found, p_value = one.absolute, one.adjusted_p_value
    return ComparisonSummary(
        variant=one.variant,
        metric=experiment.primary_metric,
        method=found.method,
        difference=found.estimate,
        confidence=1 - found.alpha,
        interval=found.interval,
        relative_lift=one.relative.estimate,
        relative_interval=one.relative.interval,
        p_value=p_value,
        significant=None if p_value is None else p_value < experiment.alpha,
        reason=found.reason,
    )
