"""Health of every component, measured when asked; nothing is assumed to be well."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

import httpx
from pydantic import BaseModel

from configs import clock
from configs.addresses import without_credentials
from configs.settings import Settings
from configs.supervision import read_supervision
from deployments.http import outgoing
from deployments.operations.heartbeat import read_heartbeat
from features.redis.connection import StoreClient, durability
from features.redis.disk_space import read_disk_space
from features.redis.errors import StoreError
from features.redis.keys import Keys
from features.redis.memory import read_memory
from features.serving.replicas import ReplicaReport, read_replicas
from features.serving.slots import Slot, read_slots
from features.streams.backlog import read_backlog

Status = Literal["ok", "degraded", "down"]
PROBE_S = 1.5
NO_CHAMPION = "no champion yet, what is popular answers"
SILENT_S = 120.0
NEAR_LATE_S = 60.0


class Component(BaseModel):
    """One part of the system: its state, and in words what was found."""

    status: Status
    detail: str
    took_ms: float | None = None


class Health(BaseModel):
    status: Status
    checked_at_ms: int
    components: dict[str, Component]


class HealthProbe:
    """Asks each component how it is.

    Args:
        settings: addresses and folders of the components.
        client, keys: the online store.
    """

    def __init__(self, settings: Settings, client: StoreClient, keys: Keys) -> None:
        self._settings = settings
        self._client = client
        self._keys = keys

    async def check(self) -> Health:
        """Ask all components at once, each within a deadline."""
        checks = {
            "store": self._timed(self._store),
            "model": self._timed(self._model),
            "registry": self._timed(self._registry),
            "disk": self._timed(self._disk),
            "autopilot": self._timed(self._autopilot),
            "kept": self._timed(self._kept),
            "supervisor": self._timed(self._supervisor),
        }
        found = dict(zip(checks, await asyncio.gather(*checks.values()), strict=True))
        return Health(status=_overall(found), checked_at_ms=clock.now_ms(), components=found)

    async def _timed(self, check: Callable[[], Awaitable[Component]]) -> Component:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(PROBE_S):
                component = await check()
        except TimeoutError:
            component = Component(status="down", detail=f"no answer within {PROBE_S} s")
        return component.model_copy(update={"took_ms": round((time.perf_counter() - started) * 1000, 2)})

    async def _store(self) -> Component:
        try:
            state, memory = await asyncio.gather(durability(self._client), read_memory(self._client))
        except StoreError as error:
            return Component(status="down", detail=str(error))
        if memory.problem:
            return Component(status="degraded", detail=f"{state.server} answers, but {memory.problem}")
        if state.durable is None:
            return Component(status="ok", detail=f"{state.server} answers; its durability is unknown: {state.reason}")
        if not state.durable or state.evicts:
            return Component(status="degraded", detail=f"{state.server} answers, but {state.reason}")
        return Component(status="ok", detail=f"{state.server}: {state.reason}")

    async def _model(self) -> Component:
        try:
            slots = await read_slots(self._client, self._keys)
            replicas = await read_replicas(self._client, self._keys)
            memory = await read_memory(self._client)
        except StoreError as error:
            return Component(status="down", detail=f"unknown: {error}")
        champion = slots.get("champion")
        if champion is None:
            words = f"{NO_CHAMPION}; a first training starts once there are enough events (or: make retrain)"
            return Component(status="degraded", detail=words)
        found = [report for report in replicas if report.deployment == "retrieval-champion"]
        if not found and memory.full:
            # They go on serving what they have.
            return Component(status="degraded", detail="unknown: no replica can report, since the store is full")
        return _judge_replicas(champion, found)

    async def _registry(self) -> Component:
        """The registry's state. Serving goes on without it; only training and promotion need it."""
        uri = self._settings.tracking_uri
        shown = without_credentials(uri)  # anybody may read the health
        if not uri.startswith("http"):
            return Component(status="ok", detail=f"not a server: {shown}")
        try:
            async with outgoing.client(PROBE_S) as http:
                answer = await http.get(f"{uri}/health")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Component(status="degraded", detail=f"{shown} does not answer: {type(error).__name__}")
        if answer.status_code != 200:
            return Component(status="degraded", detail=f"{shown} answers {answer.status_code}")
        return Component(status="ok", detail=f"{shown} answers")

    async def _autopilot(self) -> Component:
        """Autopilot's state. Nothing that is served depends on it."""
        try:
            beat = await read_heartbeat(self._client, self._keys)
        except StoreError as error:
            return Component(status="degraded", detail=f"unknown: {error}")
        if beat is None:
            return Component(status="ok", detail="it has not looked yet")
        silent_s = time.time() - beat.time_ms / 1000
        if silent_s > SILENT_S:
            return Component(status="degraded", detail=f"it has not looked for {silent_s:.0f} s")
        if beat.problems:
            return Component(status="degraded", detail="; ".join(beat.problems.values()))
        return Component(status="ok", detail=f"it looked {silent_s:.0f} s ago")

    async def _kept(self) -> Component:
        """What is kept against its budgets, as autopilot last measured it."""
        try:
            beat, backlog = await asyncio.gather(
                read_heartbeat(self._client, self._keys), read_backlog(self._client, self._keys)
            )
        except StoreError as error:
            return Component(status="degraded", detail=f"unknown: {error}")
        if beat is None or not beat.use:
            return Component(status="ok", detail="not measured yet")
        words = ", ".join(one.text for one in beat.use)
        if trimmed := backlog["exposures"].trimmed:
            words += f"; {trimmed} exposures were dropped unlogged, ever"
        near = [one.group for one in beat.use if one.share >= self._settings.keeping.warn_share]
        return (
            Component(status="degraded", detail=f"near its budget: {', '.join(near)}; {words}")
            if near
            else (Component(status="ok", detail=words))
        )

    async def _disk(self) -> Component:
        free_gb = await asyncio.to_thread(_free_gb, self._settings.state_dir)
        if free_gb is None:
            return Component(status="degraded", detail=f"{self._settings.state_dir} is not reachable from here")
        words = f"{free_gb:.1f} GB free for the state folder"
        space = await asyncio.to_thread(read_disk_space, self._settings)
        if space is None:
            words += "; the disk of the online store cannot be seen from here: watch it where it runs"
        elif space.problem:
            return Component(status="degraded", detail=space.problem)
        status: Status = "ok" if free_gb >= 1 else "degraded"
        return Component(status=status, detail=words)

    async def _supervisor(self) -> Component:
        """What the supervisor of a local stack says. Nothing that is served depends on it."""
        report = await asyncio.to_thread(read_supervision, self._settings.state_dir)
        if report is None:
            return Component(status="ok", detail="no supervisor reports here: what started this restarts its parts")
        well = report.watching and not report.troubles
        return Component(status="ok" if well else "degraded", detail=report.text)


def _judge_replicas(wanted: Slot, replicas: list[ReplicaReport]) -> Component:
    if not replicas:
        return Component(status="down", detail=f"no retrieval replica reports; the champion is {wanted.version}")
    problems = [report.problem for report in replicas if report.problem]
    if problems:
        serving = sorted({report.model_version or "nothing" for report in replicas})
        return Component(status="degraded", detail=f"serving {', '.join(serving)}; refused {problems[0]}")
    behind = sum(report.model_version != wanted.version for report in replicas)
    if behind:
        return Component(status="degraded", detail=f"{behind} of {len(replicas)} replicas still load {wanted.version}")
    late_s = max((report.near_behind_s or 0.0 for report in replicas), default=0.0)
    if late_s > NEAR_LATE_S:
        why = next((f": {report.near_problem}" for report in replicas if report.near_problem), "")
        detail = f"serving {wanted.version}; its near relations are {late_s:.0f} s behind the events{why}"
        return Component(status="degraded", detail=detail)
    return Component(status="ok", detail=f"{len(replicas)} retrieval replica(s) serve {wanted.version}")


def _overall(components: dict[str, Component]) -> Status:
    states = {component.status for component in components.values()}
    if components["store"].status == "down" or components["model"].status == "down":
        return "down"
    return "ok" if states == {"ok"} else "degraded"


def _free_gb(path: Path) -> float | None:
    return shutil.disk_usage(path).free / 1e9 if path.exists() else None
