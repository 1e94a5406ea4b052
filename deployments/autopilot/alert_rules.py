"""Which alerts are due, from what was observed. The same conditions stand in `configs/prometheus/alerts.yml`."""

from collections.abc import Iterator
from typing import Literal

from configs.groups.autopilot_limits import Alerts as AlertLimits
from configs.settings import Settings
from deployments.operations.monitor_views import Alert, DriftView
from deployments.operations.observation import Observation
from deployments.replica.user_groups import GROUPS, group_share
from features.redis.connection import Durability
from features.serving.replicas import ReplicaReport
from features.serving.slots import CHAMPION

RESTART_TOLD_MS = 600_000
"""How long an alert tells of a part that was started again."""
FEWEST = 20
"""How many requests of the last minute it takes before a share of them means anything."""
SHED_A_SECOND = 1.0
"""More requests than this turned away in each second are worth an alert."""


def due_alerts(
    seen: Observation,
    durability: Durability,
    replicas: list[ReplicaReport],
    drift: list[DriftView],
    problems: dict[str, str],
    retraining: bool,
    settings: Settings,
) -> Iterator[Alert]:
    """The alerts that are due now.

    Args:
        retraining: whether a retraining is under way.
        problems: what autopilot itself ran into: name -> words.
    """
    limits = settings.alerts
    yield from _of_requests(seen, limits)
    lag_s = seen.backlog["events"].lag_s
    if lag_s > limits.lag_s:
        yield Alert(
            name="stream_lag",
            severity="warning",
            text=f"the oldest event outside the log is {lag_s / 3600:.1f} h old: run a compaction",
        )
    manifest = seen.manifests.get(CHAMPION)
    if manifest is not None and (seen.time_ms - manifest.created_ms) / 1000 > limits.model_age_s:
        days = (seen.time_ms - manifest.created_ms) / 86_400_000
        yield Alert(name="stale_model", severity="warning", text=f"{manifest.version} was trained {days:.1f} days ago")
    refused = [report for report in replicas if report.problem]
    if refused:
        yield Alert(
            name="model_mismatch",
            severity="critical",
            text=f"{refused[0].deployment} serves {refused[0].model_version or 'nothing'}: {refused[0].problem}",
        )
    if durability.durable is False or durability.evicts:
        yield Alert(name="store_not_durable", severity="critical", text=durability.reason)
    if seen.memory.problem:
        yield Alert(name="store_full", severity="critical", text=f"the online store: {seen.memory.problem}")
    if seen.disk is not None and seen.disk.problem:
        severity: Literal["critical", "warning"] = "critical" if seen.disk.refuses else "warning"
        yield Alert(name="disk", severity=severity, text=seen.disk.problem)
    yield from _of_the_supervisor(seen)
    drifted = [view.name for view in drift if view.drifted]
    if drifted and not retraining:
        yield Alert(
            name="drift_without_retraining",
            severity="warning",
            text=f"drift of {', '.join(drifted)}, and no retraining is on its way",
        )
    last = seen.last_run
    if last is not None and last.outcome in ("failed", "stopped"):
        yield Alert(name="retraining_failed", severity="warning", text=f"{last.run_id}: {last.detail}")
    for name, words in problems.items():
        yield Alert(name=name, severity="warning", text=words)


def _of_requests(seen: Observation, limits: AlertLimits) -> Iterator[Alert]:
    """Shares are those of `deployments.replica.user_groups`, so that no single user raises an alert or hides one."""
    recent = seen.telemetry.recent
    failed = group_share(recent, "failed", "asked")
    if failed.requests >= FEWEST and failed.share is not None and failed.share > limits.error_share:
        words = (
            f"{failed.share:.1%} of {failed.requests} requests failed, of users in {failed.groups} of {GROUPS} groups"
        )
        yield Alert(name="errors", severity="critical", text=words)
    slow = group_share(recent, "slow", "lists")
    if slow.requests >= FEWEST and slow.share is not None and slow.share > 0.01:
        words = f"{slow.share:.1%} of {slow.requests} recommendations took more than {limits.p99_ms:g} ms"
        yield Alert(name="slow", severity="warning", text=f"{words}, of users in {slow.groups} of {GROUPS} groups")
    shed = sum(n for name, n in recent.items() if name.startswith("errors:") and name.endswith(":overloaded"))
    if shed / seen.telemetry.window_s > SHED_A_SECOND:
        words = f"{shed / seen.telemetry.window_s:.1f} requests a second are turned away"
        yield Alert(name="shedding", severity="warning", text=f"{words}: too few replicas, or a client asks too much")


def _of_the_supervisor(seen: Observation) -> Iterator[Alert]:
    report = seen.supervision
    if report is None:
        return
    if not report.watching:
        yield Alert(name="unsupervised", severity="warning", text=report.text)
        return
    for part, trouble in report.troubles.items():
        end = f"; the end of its log: {trouble.log_end[-500:]}" if trouble.log_end else ""
        yield Alert(name=f"{part}_down", severity="critical", text=f"{trouble.text}{end}")
    lately = {one.part: one for one in report.latest if seen.time_ms - one.time_ms < RESTART_TOLD_MS}
    for part, restart in lately.items():
        yield Alert(name=f"{part}_restarted", severity="warning", text=restart.text)
