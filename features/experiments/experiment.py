"""Experiments in the store: what each compares, and its life from draft to archive.

draft -> running -> stopped -> archived (a draft may be archived too). Every change is one script, which fails when
an experiment or the rollout has changed since it was decided on (the version `traffic` counts these two; it does not
count model slots); so two people cannot start two experiments on the same users. Replicas watch one version number and
follow within a fraction of a second.
"""

import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from experiments.assignment import Namespace, TrafficSplit
from experiments.user_metrics import METRICS
from features.redis.connection import StoreClient
from features.redis.errors import StoreBusy
from features.redis.keys import Keys
from features.redis.scripts import Script, run_script
from features.redis.stored import read_record
from features.serving.rollout import Rollout, unpack_rollout
from features.serving.slots import SLOTS, Slot, unpack_slot
from features.serving.timeline import entry, note

Status = Literal["draft", "running", "stopped", "archived"]
CHANGES_KEPT = 10_000
NOTED = ("started", "stopped", "promoted")
"""Changes that are written into the timeline too."""
GRACE_MS = 1_500
"""Between the decision to stop and the last moment that counts: every replica has heard of it by then."""
_TRIES = 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_CHANGE = Script("change_experiment", CHANGES_KEPT=CHANGES_KEPT)


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
        for name in value:
            _known_metric(name)
        return list(dict.fromkeys(value))

    @model_validator(mode="after")
    def _consistent(self) -> "Definition":
        TrafficSplit("-", tuple(v.name for v in self.variants), tuple(v.weight for v in self.variants), self.coverage)
        Namespace(self.group, *self.group_range)
        for name in (self.primary_metric, *(guardrail.metric for guardrail in self.guardrails)):
            _known_metric(name)
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


class TrafficState(_Part):
    """All that decides who gets which model, read at one moment."""

    version: int
    experiments: dict[str, Experiment]
    slots: dict[str, Slot]
    rollout: Rollout | None


async def read_traffic(client: StoreClient, keys: Keys) -> TrafficState:
    """Read all that decides who gets which model. Raises `StoreUnavailable`."""
    # The version first: what changes meanwhile is then newer than it says, and a change decided on it fails.
    version = await client.run("HGET", keys.versions, "traffic")
    experiments, slots, rollout = await client.read(
        [("HGETALL", keys.experiments), ("HGETALL", keys.slots), ("GET", keys.rollout)]
    )
    found = [read_record(Experiment, raw) for raw in experiments.values()]
    return TrafficState(
        version=int(version or 0),
        experiments={one.id: one for one in sorted(found, key=lambda one: (one.created_ms, one.id))},
        slots={name.decode(): unpack_slot(raw) for name, raw in slots.items()},
        rollout=unpack_rollout(rollout),
    )


async def read_ends(client: StoreClient, keys: Keys) -> dict[str, int]:
    """experiment -> the last moment that counts, of those that were stopped."""
    experiments = (await read_traffic(client, keys)).experiments.values()
    return {one.id: one.ended_ms for one in experiments if one.ended_ms is not None}


async def create_experiment(client: StoreClient, keys: Keys, definition: Definition, now_ms: int) -> Experiment:
    """Store a draft. Raises `ExperimentError` when the id is taken."""
    given = definition.model_dump()
    given["id"] = (
        definition.id or time.strftime("exp-%Y%m%d-%H%M%S", time.gmtime(now_ms / 1000)) + f"-{now_ms % 1000:03d}"
    )
    given["seed"] = definition.seed or given["id"]
    draft = Experiment(**given, created_ms=now_ms)

    def create(state: TrafficState) -> Experiment:
        if draft.id in state.experiments:
            raise ExperimentError("conflict", f"id: there is an experiment {draft.id!r} already", "id")
        return draft

    return await _change(client, keys, create, "created", draft.hypothesis, now_ms)


async def change_experiment(
    client: StoreClient,
    keys: Keys,
    experiment: str,
    step: Callable[[Experiment, TrafficState], Experiment],
    change: str,
    reason: str,
    now_ms: int,
) -> Experiment:
    """Take one step; `step` is asked again when something changed meanwhile.

    Raises:
        ExperimentError: no such experiment, or the step is not possible.
    """

    def take(state: TrafficState) -> Experiment:
        return step(known(state, experiment), state)

    return await _change(client, keys, take, change, reason, now_ms)


def known(state: TrafficState, experiment: str) -> Experiment:
    """The experiment. Raises `ExperimentError` where there is none."""
    found = state.experiments.get(experiment)
    if found is None:
        raise ExperimentError("missing", f"there is no experiment {experiment!r}", "id")
    return found


async def read_changes(client: StoreClient, keys: Keys, experiment: str, limit: int = 200) -> list[ExperimentChange]:
    """The latest changes of an experiment, newest first, among the last 2,000 of all."""
    entries = await client.run("XREVRANGE", keys.experiment_changes, "+", "-", "COUNT", 2_000)
    rows = [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in entries]
    found = [row for row in rows if row["experiment"] == experiment][:limit]
    return [ExperimentChange(**{name: row[name] for name in ExperimentChange.model_fields}) for row in found]


async def _change(
    client: StoreClient,
    keys: Keys,
    decide: Callable[[TrafficState], Experiment],
    change: str,
    reason: str,
    now_ms: int,
) -> Experiment:
    for _ in range(_TRIES):
        state = await read_traffic(client, keys)
        changed = decide(state)
        script_keys = [keys.experiments, keys.versions, keys.experiment_changes]
        args: Sequence[Any] = [state.version, changed.id, changed.model_dump_json(), change, reason, now_ms]
        if int(await run_script(client, _CHANGE, script_keys, args)) >= 0:
            if change in NOTED:
                await note(client, keys, entry("experiment", f"experiment {changed.id} {change}: {reason}"))
            return changed
    raise StoreBusy("others keep changing the traffic; try again")


def _known_metric(name: str) -> None:
    if name not in METRICS:
        raise ValueError(f"no such metric {name!r}; there are {', '.join(METRICS)}")
