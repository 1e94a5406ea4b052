"""Settings of autopilot and of its alerts."""

from typing import Literal

from pydantic import Field

from configs.groups.group import Group


class AutopilotLimits(Group):
    """Watching live quality and drift, and what follows from it. See docs/autopilot.md."""

    mode: Literal["off", "observe", "act"] = Field(
        "observe",
        description="off: only what a person asks for, and compaction; observe: measures and says what it would do; "
        "act: retrains and rolls back by itself",
    )
    policy: Literal["manual", "gate", "experiment"] = Field(
        "gate",
        description="what may promote a retrained model: a person; the gate of the training; an experiment with live "
        "traffic after the gate",
    )
    every_s: float = Field(5.0, gt=0, le=60, description="time between two looks")
    jobs_address: str | None = Field(None, description="Ray's jobs API; None: the dashboard of the local stack")
    job_cpus: float = Field(
        0.0, ge=0, description="processors that a job reserves, on any node that has them; 0: it runs beside Ray's head"
    )
    trials: int | None = Field(None, ge=1, description="trials of a retraining's search; None: training.trials")
    job_deadline_s: float = Field(3600.0, gt=0, description="a retraining that takes longer is stopped")
    cooldown_s: float = Field(900.0, ge=0, description="shortest time between two retrainings that nobody asked for")
    backoff_s: float = Field(900.0, gt=0, description="added to that after a failure, doubled by each further one")
    new_events: int = Field(
        1000,
        ge=0,
        description="more new events than this call for a retraining (of one user a tenth counts); 0: never",
    )
    schedule: str | None = Field(None, description="when to retrain anyway, as five cron fields in UTC: 0 3 * * *")
    on_drift: bool = Field(
        False,
        description="whether drift of items, categories or newcomers calls for one, even while live quality holds",
    )
    max_drop: float = Field(0.10, gt=0, lt=1, description="loss of live quality since deployment that calls for one")
    max_psi: float = Field(0.2, gt=0, description="population stability index above which a distribution has drifted")
    attribution_s: float = Field(30.0, gt=0, description="an event within this time is an answer to the list shown")
    min_lists: int = Field(500, ge=20, description="lists in each of the two windows that are compared")
    canary_share: float = Field(0.1, gt=0, lt=1, description="share of users who get a new model in its experiment")
    trial_users: int = Field(100, ge=2, description="users in each arm of that experiment before it is read")
    trial_min_days: float = Field(7.0, ge=0, description="shortest time before that experiment may promote")
    trial_max_days: float = Field(28.0, gt=0, description="when that experiment ends without a winner")
    guard_s: float = Field(600.0, ge=0, description="how long a newly promoted model is watched")
    guard_requests: int = Field(50, ge=10, description="requests before a promoted model is judged")
    max_error_share: float = Field(0.02, gt=0, lt=1, description="share of failed requests that rolls back")
    slow_s: float = Field(1.0, gt=0, description="a recommendation that takes longer counts as slow")
    max_slow_share: float = Field(0.05, gt=0, lt=1, description="share of slow recommendations that rolls back")


class Alerts(Group):
    """When to raise an alert, and whom to tell."""

    webhook: str | None = Field(None, pattern=r"^https?://", description="address that gets alerts by POST")
    format: Literal["generic", "slack"] = Field("generic", description="JSON of the alert, or Slack's form of it")
    repeat_s: float = Field(14_400.0, gt=0, description="an alert that lasts is told again after this")
    error_share: float = Field(0.02, gt=0, lt=1, description="share of failed requests in the last minute")
    p99_ms: float = Field(500.0, gt=0, description="99 % of recommendations in the last minute were quicker")
    lag_s: float = Field(86_400.0, gt=0, description="age of the oldest event that is not in the log")
    model_age_s: float = Field(1_209_600.0, gt=0, description="a model trained longer ago is stale")
