"""All that the console's pages show each second, in one answer.

Every number comes from the online store or is measured at that moment, so any replica answers alike. What is not known
is null; what cannot be asked is named in `problems`, and the rest is told all the same.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field

from configs.settings import Settings
from deployments.operations.health import HealthProbe, Status
from deployments.operations.monitor import Monitor, learning_view, system_metrics
from deployments.operations.monitor_views import LearningView, ModelMetrics, SystemMetrics
from features.redis.connection import StoreClient
from features.redis.errors import StoreError
from features.redis.keys import Keys
from features.serving.replicas import read_replicas
from features.serving.serving_state import read_state
from features.serving.timeline import Entry, read_timeline

SHARED_S = 0.5
TIMELINE = 50
_AGES = {"last_update", "looked_at", "uptime_s", "window_s", "age_s", "lag_s"}
"""Fields that change with the clock alone, and are left out of the tag."""
_AGE = re.compile(r"\d+(?:\.\d+)? \w+ ago")
Found = TypeVar("Found")


class ComponentView(BaseModel):
    status: Status
    detail: str


class HealthView(BaseModel):
    status: Status
    components: dict[str, ComponentView]


class ReplicaView(BaseModel):
    """A retrieval replica, by what it last reported."""

    model_config = ConfigDict(protected_namespaces=())

    deployment: str
    model_version: str | None
    problem: str | None


class VariantBrief(BaseModel):
    name: str
    slot: str | None


class ExperimentBrief(BaseModel):
    id: str
    status: str
    variants: list[VariantBrief] = Field(description="the control first")


class RolloutBrief(BaseModel):
    share: float
    version: str


class SplitView(BaseModel):
    """How users are divided over models."""

    experiments: list[ExperimentBrief] = Field(description="that are not archived, the newest first")
    rollout: RolloutBrief | None


class Snapshot(BaseModel):
    """One tick of the console; the parts are those of the endpoints that answer them alone."""

    health: HealthView
    system: SystemMetrics | None = Field(description="as /api/v1/metrics/system")
    model: ModelMetrics | None = Field(description="as /api/v1/metrics/model")
    learning: LearningView | None = Field(description="as in /api/v1/metrics/dashboard")
    replicas: list[ReplicaView] | None
    split: SplitView | None
    timeline: list[Entry] | None = Field(description="as /api/v1/mlops/timeline, the newest first")
    problems: list[str] = Field(description="what could not be asked, in words")


@dataclass(frozen=True)
class Tagged:
    """A snapshot as JSON. The tag names what it says, apart from ages: replicas that know the same give the same."""

    content: bytes
    etag: str


class ConsoleSnapshot:
    """Gathers snapshots; those who ask within half a second share one.

    Args:
        settings: where the parts of the platform are.
        client, keys: the online store.
        health: asks the components.
        monitor: reads the counts.
    """

    def __init__(
        self, settings: Settings, client: StoreClient, keys: Keys, health: HealthProbe, monitor: Monitor
    ) -> None:
        self._settings = settings
        self._client = client
        self._keys = keys
        self._health = health
        self._monitor = monitor
        self._lock = asyncio.Lock()
        self._latest: Tagged | None = None
        self._made_at = 0.0

    async def latest(self) -> Tagged:
        """The present snapshot. A store that is away makes it poorer, but raises nothing."""
        async with self._lock:
            if self._latest is None or time.monotonic() - self._made_at > SHARED_S:
                self._latest = tagged(await self._gather())
                self._made_at = time.monotonic()
            return self._latest

    async def _gather(self) -> Snapshot:
        problems: list[str] = []

        async def ask(name: str, part: Callable[[], Awaitable[Found]]) -> Found | None:
            try:
                return await part()
            except StoreError as error:
                problems.append(f"{name}: {error}")
                return None

        health, system, model, learning, replicas, split, timeline = await asyncio.gather(
            self._components(),
            ask("system", self._system),
            ask("model", self._monitor.model),
            ask("learning", self._learning),
            ask("replicas", self._replicas),
            ask("split", self._split),
            ask("timeline", self._timeline),
        )
        return Snapshot(
            health=health,
            system=system,
            model=model,
            learning=learning,
            replicas=replicas,
            split=split,
            timeline=timeline,
            problems=sorted(problems),
        )

    async def _components(self) -> HealthView:
        found = await self._health.check()
        components = {
            name: ComponentView(status=component.status, detail=component.detail)
            for name, component in found.components.items()
        }
        return HealthView(status=found.status, components=components)

    async def _system(self) -> SystemMetrics:
        return system_metrics(await self._monitor.observe())

    async def _learning(self) -> LearningView:
        return learning_view(await self._monitor.observe(), self._settings.autopilot.new_events)

    async def _replicas(self) -> list[ReplicaView]:
        reports = await read_replicas(self._client, self._keys)
        return [
            ReplicaView(deployment=report.deployment, model_version=report.model_version, problem=report.problem)
            for report in sorted(reports, key=lambda report: report.deployment)
        ]

    async def _split(self) -> SplitView:
        state = await read_state(self._client, self._keys)
        return SplitView(
            experiments=[
                ExperimentBrief(
                    id=one.id,
                    status=one.status,
                    variants=[VariantBrief(name=name, slot=one.slots.get(name)) for name in one.names],
                )
                for one in reversed(list(state.experiments.values()))
                if one.status != "archived"
            ],
            rollout=RolloutBrief(share=state.rollout.share, version=state.rollout.version) if state.rollout else None,
        )

    async def _timeline(self) -> list[Entry]:
        return await read_timeline(self._client, self._keys, TIMELINE)


def tagged(snapshot: Snapshot) -> Tagged:
    """The snapshot as bytes, with the tag of what it says."""
    content = snapshot.model_dump(mode="json")
    digest = hashlib.blake2b(orjson.dumps(_without_ages(content)), digest_size=12).hexdigest()
    return Tagged(orjson.dumps(content), f'"{digest}"')


def _without_ages(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_ages(entry) for name, entry in value.items() if name not in _AGES}
    if isinstance(value, list):
        return [_without_ages(entry) for entry in value]
    return _AGE.sub("", value) if isinstance(value, str) else value
