"""What calls for a retraining."""

from collections.abc import Sequence

from configs.settings import AutopilotLimits
from deployments.autopilot.cron import Cron
from deployments.autopilot.drift_watch import PERFORMANCE, TASTE
from deployments.operations.monitor_views import DriftView
from deployments.operations.observation import Observation, events_since_training
from features.serving.run_record import Trigger
from features.serving.slots import CHAMPION


def events_without_model(seen: Observation, simulated: int | None) -> int:
    """How many events a first model could learn from; 0 where there is a model, or it is not known yet."""
    if CHAMPION in seen.slots or simulated is None:
        return 0
    return seen.log_rows + max(0, seen.backlog["events"].pending - simulated)


def calls_for_retraining(
    seen: Observation,
    simulated: int | None,
    measures: Sequence[DriftView],
    limits: AutopilotLimits,
    schedule: Cron | None,
    scheduled_ms: int,
    now_ms: int,
) -> dict[Trigger, str]:
    """The triggers that call for a retraining, the weightiest first, each with its reason in words.

    Args:
        simulated: how many of the events that wait in the streams training leaves out; None while it is not known.
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
    since = None if simulated is None else events_since_training(seen, simulated)
    if limits.new_events and since is not None and since > limits.new_events:
        calls["events"] = f"{since} new events since the last training, more than {limits.new_events}"
    if limits.new_events and (events := events_without_model(seen, simulated)) > limits.new_events:
        calls["events"] = f"{events} events and no model yet, more than {limits.new_events}"
    if schedule is not None and scheduled_ms > 0 and schedule.due_between(scheduled_ms, now_ms):
        calls["schedule"] = f"the schedule {limits.schedule}"
    return calls
