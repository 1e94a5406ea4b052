"""Experiments: what each compares, and its state (`features.experiments.changes` has its life in the store)."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from experiments.assignment import Namespace, TrafficSplit
from experiments.user_metrics import METRICS
from features.serving.slots import SLOTS

Status = Literal["draft", "running", "stopped", "archived"]
GRACE_MS = 1_500
"""Between the decision to stop and the last moment that counts: every replica has heard of it by then."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


class ExperimentError(ValueError):
    """A step that is not possible; the message names the field and says why.

    Attributes:
        kind: "missing" (no such experiment), "conflict" (not now), "invalid" (never).
    """

    def __init__(self, kind: Literal["missing", "conflict", "invalid"], message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.field = field


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Variant(_Part):
    """One arm. Its model is that of a slot, or a version, which is put into a free slot at the start."""

    name: str
    weight: float = Field(ge=0, le=1, allow_inf_nan=False, description="share of the experiment's users")
    slot: str | None = Field(None, description="champion, challenger or challenger-2")
    version: str | None = Field(None, min_length=1, max_length=100, description="version of a model, instead of a slot")

    @model_validator(mode="after")
    def _one_model(self) -> "Variant":
        if not _NAME.fullmatch(self.name):
            raise ValueError("name: 1 to 40 letters, digits, dots, hyphens, underscores")
        if (self.slot is None) == (self.version is None):
            raise ValueError(f"{self.name}: give either slot or version")
        if self.slot is not None and self.slot not in SLOTS:
            raise ValueError(f"{self.name}: no such slot {self.slot!r}; there are {', '.join(SLOTS)}")
        return self


class GuardrailMetric(_Part):
    """A metric that must not get worse."""

    metric: str
    margin: float = Field(0.0, ge=0, allow_inf_nan=False, description="how much worse is tolerated, absolute")

    @field_validator("metric")
    @classmethod
    def _metric(cls, value: str) -> str:
        return _known_metric(value)


class Bandit(_Part):
    """Top-two Thompson sampling: new users go where the better variants are. Off unless asked for."""

    floor: float = Field(0.05, ge=0, le=0.5, description="smallest weight of a variant")
    leader_share: float = Field(
        0.7, gt=0, le=1, description="chance of a new user to get the leader; the rest is the runner-up's"
    )
    minimum_users: int = Field(100, ge=2, description="users in each variant before the weights move")


class Definition(_Part):
    """What an experiment compares, and how it is decided."""

    id: str | None = Field(None, description="made from the time, if left out")
    hypothesis: str = Field(min_length=1, max_length=1000)
    variants: list[Variant] = Field(min_length=2, max_length=10, description="the control first")
    coverage: float = Field(1.0, gt=0, le=1, allow_inf_nan=False, description="share of all users who take part")
    group: str = Field(
        "default", min_length=1, max_length=40, description="running experiments of a group share no user"
    )
    group_range: tuple[float, float] = Field((0.0, 1.0), description="part of the group's users that this one may have")
    seed: str | None = Field(None, max_length=100, description="seeds the assignment; the id, if left out")
    primary_metric: str = Field("click_through", description="the metric that decides")
    metrics: list[str] = Field(default_factory=lambda: list(METRICS), description="metrics that are shown beside it")
    guardrails: list[GuardrailMetric] = Field(default_factory=list, max_length=10)
    method: Literal["always_valid", "welch"] = Field(
        "always_valid", description="always_valid may be looked at any time; welch once, at the planned sample"
    )
    alpha: float = Field(0.05, gt=0, lt=0.5, allow_inf_nan=False)
    planned_effect: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="absolute, in the primary metric's unit: what must be found"
    )
    power: float = Field(0.8, gt=0.5, lt=1, allow_inf_nan=False)
    planned_users: int | None = Field(
        None, ge=2, description="users in each variant; once they are there it is decided"
    )
    minimum_days: float = Field(7.0, ge=0, le=365, allow_inf_nan=False)
    minimum_users: int = Field(100, ge=2, description="users in each variant before anything is read")
    maximum_days: float = Field(28.0, gt=0, le=3650, allow_inf_nan=False)
    bandit: Bandit | None = None

    @field_validator("id")
    @classmethod
    def _id(cls, value: str | None) -> str | None:
        if value is not None and not _NAME.fullmatch(value):
            raise ValueError("1 to 40 letters, digits, dots, hyphens, underscores")
        return value

    @field_validator("metrics")
    @classmethod
    def _metrics(cls, value: list[str]) -> list[str]:
        return list(dict.fromkeys(_known_metric(name) for name in value))

    @field_validator("primary_metric")
    @classmethod
    def _primary_metric(cls, value: str) -> str:
        return _known_metric(value)

    @field_validator("group_range")
    @classmethod
    def _group_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        Namespace("-", *value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "Definition":
        TrafficSplit("-", tuple(v.name for v in self.variants), tuple(v.weight for v in self.variants), self.coverage)
        if self.maximum_days < self.minimum_days:
            raise ValueError(f"maximum_days: {self.maximum_days:g} is below minimum_days, {self.minimum_days:g}")
        if self.bandit is not None and self.bandit.floor * len(self.variants) > 1:
            raise ValueError(
                f"bandit: a floor of {self.bandit.floor:g} leaves nothing to {len(self.variants)} variants"
            )
        return self


class WeightPeriod(_Part):
    """Weights that held from a time on; `users` were there already."""

    since_ms: int
    weights: list[float]
    users: int


class Reading(_Part):
    """What a fixed-sample test was read from, once: the sums of each variant at a time, without those that are 0."""

    time_ms: int
    sums: dict[str, dict[str, int]]


class Experiment(Definition):
    """A definition with its state. Times are in ms."""

    id: str
    seed: str
    status: Status = "draft"
    created_ms: int
    started_ms: int | None = None
    ended_ms: int | None = None
    """The last moment that counts."""
    reason: str | None = None
    slots: dict[str, str] = Field(default_factory=dict)
    """variant -> slot, since the start."""
    versions: dict[str, str] = Field(default_factory=dict)
    """variant -> model version, since the start."""
    periods: list[WeightPeriod] = Field(default_factory=list)
    sample_users: int | None = None
    """Users in each variant at which it is read: `planned_users` at the start, or what `planned_effect` needs, once."""
    reading: Reading | None = None
    winner: str | None = None
    promoted_version: str | None = None

    @property
    def names(self) -> list[str]:
        """The names of the variants, the control first."""
        return [variant.name for variant in self.variants]

    @property
    def weights(self) -> list[float]:
        """The weights of the variants as they are now, in the order of `names`."""
        return [variant.weight for variant in self.variants]

    def traffic(self) -> TrafficSplit:
        """The split by which the experiment divides its users."""
        whole = self.group_range == (0.0, 1.0)
        namespace = None if whole else Namespace(self.group, *self.group_range)
        return TrafficSplit(self.seed, tuple(self.names), tuple(self.weights), self.coverage, namespace)


class ExperimentChange(_Part):
    """One entry of the change log."""

    experiment: str
    change: str
    reason: str
    time_ms: int


def _known_metric(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"no such metric {name!r}; there are {', '.join(METRICS)}")
    return name
