"""What `/api/v1/metrics/...` answers. A value that is not known is null, never a number that stands for it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from features.lifecycle.use import Use
from features.serving.run_record import Run

TrainingStatus = Literal["idle", "submitting", "training", "judging", "testing", "failed"]


Severity = Literal["warning", "critical"]


class Alert(BaseModel):
    """Something that is wrong. `name` is the same for as long as it is the same thing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    severity: Severity
    text: str


class View(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class Timing(View):
    """Durations of the last minute, from a histogram with bounds a third apart."""

    n: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class RequestView(View):
    """Requests of one endpoint."""

    total: int = Field(description="since the store was created")
    per_second: float = Field(description="in the last minute")
    by_code: dict[str, int] = Field(description="total by status of the answer")
    errors: dict[str, int] = Field(description="total by code of the error")
    error_share: float | None = Field(description="5xx in the last minute, of what API keys let through; null without")
    shed_total: int = Field(description="turned away because too many were waiting")


class BacklogView(View):
    """A stream of the store that waits to be moved into the log."""

    pending: int
    lag_s: float = Field(description="age of the oldest entry; 0 when there is none")


class SystemMetrics(View):
    """How the machinery does, over all replicas."""

    last_update: str
    window_s: float = Field(description="what the present rates and percentiles are taken over")
    uptime_s: float | None = Field(description="of the replica that has run longest")
    replicas: dict[str, int] = Field(description="that reported within ten seconds, by deployment")
    requests: dict[str, RequestView]
    latency: dict[str, Timing] = Field(
        description="by stage: total, features, retrieval, ranking, exposure of recommendations; event"
    )
    cache_hit_rate: float | None = Field(description="share of lists from the cache in the last minute")
    cache_hits_total: int
    lists_total: int
    cold_start_share: float | None = Field(description="in the last minute")
    degraded_share: float | None = Field(description="lists without the store in the last minute")
    streams: dict[str, BacklogView]
    kept: list[Use] = Field(description="what is kept, by group, as autopilot last measured it; empty before it did")


class ModelView(View):
    """A model in a slot."""

    version: str
    since: str = Field(description="when the slot got it")
    reason: str
    trained_at: str | None
    age_s: float | None
    metrics: dict[str, float] = Field(description="offline evaluation when it was trained; undefined ones are absent")
    n_users: int | None
    n_items: int | None


class QualityView(View):
    """How the lists of one model did on one day (UTC)."""

    model_version: str
    day: str
    lists: int = Field(description="that were judged: shown, and the time for an answer is over")
    click_rate: float | None = Field(description="share of lists with a positive answer")
    hit_rate: float | None = Field(description="among lists after which the user liked anything: it was on the list")
    map_at_10: float | None = Field(
        description="of all lists: average precision of what was then taken up, over ten places"
    )
    coverage: float | None = Field(description="share of the model's items that were shown, within about 1 %")
    diversity: float | None = Field(description="1 - mean cosine of the items' categories within a list")
    rating_rmse: float | None = Field(description="incoming ratings against the model's bias terms")
    ratings: int


class DriftView(View):
    """A measure against its threshold."""

    name: str
    value: float | None
    threshold: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    drifted: bool | None = Field(description="null while there is too little to say")
    detail: str


class LearningView(View):
    """Which data the models have learned from, and what has come since."""

    events_total: int
    events_by_type: dict[str, int]
    events_per_minute: float
    duplicates_total: int
    refused_total: int
    features_refreshed_total: int
    fold_ins_total: int
    events_since_training: int | None = Field(description="all of them, whoever made them")
    events_counted: int | None = Field(
        description="what they count for, where of one user a tenth of the threshold counts at most; more than the "
        "threshold calls for a retraining, and beyond it nothing is counted. Null while autopilot has not looked, "
        "and where events call for none"
    )
    new_events_threshold: int = Field(description="0: events call for no retraining")


class TrainingView(View):
    """The retraining in progress, and the latest one that ended."""

    status: TrainingStatus
    run: Run | None
    last_run: Run | None


class AutopilotView(View):
    """What autopilot may do, and what it last saw."""

    mode: str
    policy: str
    looked_at: str | None = Field(description="null when it never looked")
    watching: str | None = Field(description="version of a promoted model that is being watched")
    failures_in_a_row: int | None
    quiet_until: str | None = Field(description="no retraining of its own before this")
    alerts: list[Alert]
    problems: dict[str, str] = Field(description="what it ran into itself")


class ModelMetrics(View):
    """The models in the slots and the quality of their lists."""

    last_update: str
    slots: dict[str, ModelView]
    events_since_training: int | None
    training: TrainingView
    quality: list[QualityView]
    drift: list[DriftView]
    autopilot: AutopilotView


class DashboardMetrics(View):
    """System, models, learning and autopilot at a glance."""

    last_update: str
    window_s: float
    uptime_s: float | None
    requests_total: int
    requests_per_second: float
    error_share: float | None
    shed_total: int
    events_per_minute: float
    cache_hit_rate: float | None
    latency: Timing = Field(description="of recommendations, in the last minute")
    model_version: str | None
    model_accuracy: dict[str, float] | None = Field(description="offline evaluation of the champion")
    last_trained: str | None
    model_age_s: float | None
    training_status: TrainingStatus
    learning: LearningView
    stream_pending: int
    stream_lag_s: float
    drift: list[DriftView]
    quality: QualityView | None = Field(description="of the champion's lists of its latest day")
