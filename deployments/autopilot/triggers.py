"""What calls for a retraining."""

from collections.abc import Sequence

from configs.settings import AutopilotLimits
from deployments.autopilot.cron import Cron
from deployments.autopilot.drift_watch import PERFORMANCE, TASTE
from deployments.operations.monitor_views import DriftView
from deployments.operations.observation import Observation, events_since_training
from features.serving.run_record import Trigger
from features.serving.slots import CHAMPION


def most_of_one_user(limits: AutopilotLimits) -> int:
    """How many events of one user count as new: a tenth of what calls for a retraining, at least 1."""
    return max(1, limits.new_events // 10)


def unlearned(seen: Observation, simulated: int | None) -> int:
    """How many events no model has learned from: those since the champion's training, or all where there is no model;
    0 where it is not known.

    Args:
        simulated: how many of the events that wait in the streams training leaves out; None while it is not known.
    """
    if simulated is None:
        return 0
    if CHAMPION not in seen.slots:
        return seen.log_rows + max(0, seen.backlog["events"].pending - simulated)
    return events_since_training(seen, simulated) or 0


def calls_for_retraining(
    seen: Observation,
    events: int,
    counted: int,
    measures: Sequence[DriftView],
    limits: AutopilotLimits,
    schedule: Cron | None,
    scheduled_ms: int,
    now_ms: int,
) -> dict[Trigger, str]:
    """The triggers that call for a retraining, the weightiest first, each with its reason in words.

    Args:
        events: those that no model has learned from.
        counted: how many of them count where one user makes up only a part, see `most_of_one_user`.
        measures: of drift, as of the latest look.
        schedule: that of `limits`.
        scheduled_ms: until when the schedule was looked at; 0 when it never was.
    """
    drifted = [view for view in measures if view.drifted]
    calls: dict[Trigger, str] = {}
    if lost := [view for view in drifted if view.name in PERFORMANCE]:
        calls["metric"] = "; ".join(f"{view.name}: {view.detail}" for view in lost)
    if limits.on_drift and (moved := [view for view in drifted if view.name in TASTE]):
        calls["drift"] = "; ".join(f"{view.name}: {view.detail}" for view in moved)
    if limits.new_events and counted > limits.new_events:
        words = "new events since the last training" if CHAMPION in seen.slots else "events and no model yet"
        calls["events"] = f"{events} {words}, more than {limits.new_events}"
    if schedule is not None and scheduled_ms > 0 and schedule.due_between(scheduled_ms, now_ms):
        calls["schedule"] = f"the schedule {limits.schedule}"
    return calls
