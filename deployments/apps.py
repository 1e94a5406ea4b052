"""Builders of the Ray Serve applications: the one place where Ray is wrapped round plain classes.

`serve_config.yaml` names these functions. Settings are read where the application is built, inside the cluster, and
travel to the replicas with their arguments.
"""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.exceptions import RayActorError
from ray.serve import Application
from ray.serve.exceptions import DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Receive, Scope, Send

from configs.settings import Settings, load_settings
from deployments.access.access import Access
from deployments.autopilot.autopilot import Autopilot
from deployments.console.console import Console
from deployments.console.routes import console_api
from deployments.events.endpoints import events_endpoints
from deployments.events.ingestion import Ingestion
from deployments.http import serve_bypass as ingress
from deployments.http.asgi_app import Endpoint, EndpointApp, header
from deployments.http.request_log import request_log
from deployments.operations.similar_items import Similar
from deployments.recommend.endpoints import recommend_endpoints
from deployments.recommend.first_answer import first_answer
from deployments.recommend.messages import Question, Reply
from deployments.recommend.ranking import Ranking
from deployments.recommend.retrieval import Retrieval
from deployments.replica.autoscaling import IN_FLIGHT
from deployments.replica.ray_metrics import RayMetrics
from deployments.replica.request_metrics import RequestMetrics
from features.serving.slots import SLOTS

logger = logging.getLogger("ray.serve")
RETRY_S = 0.02
PATIENCE = 0.2
"""Which share of a request's deadline one retrieval replica gets before another is asked as well."""


class RecommendArgs(BaseModel):
    """Arguments of the application `recommend`."""

    model_config = ConfigDict(extra="forbid")

    slots: list[str] = Field(list(SLOTS), description="model slots, one Retrieval deployment each")


class EventsArgs(BaseModel):
    """Arguments of the application `events`."""

    model_config = ConfigDict(extra="forbid")


class ConsoleArgs(BaseModel):
    """Arguments of the application `console`."""

    model_config = ConfigDict(extra="forbid")


def recommend(args: RecommendArgs) -> Application:
    """`Ranking`, with one `Retrieval` deployment for each model slot beside it."""
    settings = load_settings()
    handles = {
        slot: RetrievalDeployment.options(name=f"Retrieval-{slot}").bind(slot, settings)  # type: ignore[attr-defined]
        for slot in args.slots
    }
    return RankingDeployment.bind(settings, handles)  # type: ignore[attr-defined]


def events(args: EventsArgs) -> Application:
    """`Ingestion`."""
    return IngestionDeployment.bind(load_settings())  # type: ignore[attr-defined]


def console(args: ConsoleArgs) -> Application:
    """`Console`: pages, health, users, items and the document over all three applications; beside it `Autopilot`."""
    settings = load_settings()
    return ConsoleDeployment.bind(settings, AutopilotDeployment.bind(settings))  # type: ignore[attr-defined]


@serve.deployment
class RetrievalDeployment(Retrieval):
    async def __init__(self, slot: str, settings: Settings) -> None:  # type: ignore[misc]
        super().__init__(slot, settings)
        await self.start()
        keep_for_good()


@serve.deployment
@serve.ingress()
class RankingDeployment(Ranking):
    async def __init__(self, settings: Settings, retrieval: dict[str, DeploymentHandle]) -> None:  # type: ignore[misc]
        super().__init__(
            settings, {slot: _asking(handle, settings.serving.deadline_s) for slot, handle in retrieval.items()}
        )
        self.metrics.export_to(RayMetrics())
        await self.start()
        keep_for_good()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        self._hot = endpoint_app(recommend_endpoints(lambda: self, self.settings.serving), self.settings, self.metrics)
        return served_app(self._hot, self.access, self.settings, self.metrics)

    def record_autoscaling_stats(self) -> dict[str, float]:
        return {IN_FLIGHT: self._hot.in_flight}


@serve.deployment
@serve.ingress()
class IngestionDeployment(Ingestion):
    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]
        super().__init__(settings)
        self.metrics.export_to(RayMetrics())
        await self.start()
        keep_for_good()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        self._hot = endpoint_app(events_endpoints(lambda: self, self.settings.serving), self.settings, self.metrics)
        return served_app(self._hot, self.access, self.settings, self.metrics)

    def record_autoscaling_stats(self) -> dict[str, float]:
        return {IN_FLIGHT: self._hot.in_flight}


@serve.deployment
@serve.ingress()
class ConsoleDeployment(Console):
    async def __init__(self, settings: Settings, _autopilot: DeploymentHandle) -> None:  # type: ignore[misc]
        # The handle makes autopilot part of this application; they meet in the store.
        super().__init__(settings, _ask_similar, _ask_version, _hold)
        await self.start()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        app = console_api(lambda: self, self.settings.serving, _documented(self.settings))
        return at_root(self.access.guarded(app, console=True))


@serve.deployment
class AutopilotDeployment(Autopilot):
    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]
        super().__init__(settings, _ask_version, _hold)
        await self.start()


def _documented(settings: Settings) -> list[Endpoint]:
    """The endpoints of the other two applications, of which the console only serves the description."""

    def none() -> Any:
        raise RuntimeError("only the document of this application is made here")

    return [*recommend_endpoints(none, settings.serving), *events_endpoints(none, settings.serving)]


def keep_for_good() -> None:
    """Keep the garbage collector from looking through what a replica holds since its start: that stays for good, and
    looking cost 6 % of the ranking replica's time by a profile. What requests leave behind has next to no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def at_root(app: ASGIApp) -> ASGIApp:
    """Let `app` see whole paths: Serve mounts an application below its route prefix, while the routes here, and so
    the document, name the whole path."""

    async def whole_path(scope: Scope, receive: Receive, send: Send) -> None:
        scope["root_path"] = ""
        await app(scope, receive, send)

    return whole_path


def endpoint_app(endpoints: list[Endpoint], settings: Settings, metrics: RequestMetrics) -> EndpointApp:
    """The busy endpoints of a replica, which counts and, for a share of them, logs its answers."""
    log = request_log(settings.serving.log_share, settings.token_path)
    return EndpointApp(endpoints, settings.serving.max_in_flight, metrics.answered, log)


def served_app(hot: EndpointApp, access: Access, settings: Settings, metrics: RequestMetrics) -> ASGIApp:
    """Put `hot` behind the gate. It answers without Serve's handling, except what Serve is to trace."""

    def count_refused(path: str, status: int, error: str) -> None:
        if path in hot.names:  # a path that somebody makes up must not become a metric
            metrics.answered(hot.names[path], status, error)

    app = at_root(access.guarded(hot, count_refused))
    tracing = settings.tracing
    if tracing.endpoint is None:
        ingress.answer_directly(hot.names, app, lambda _: False)
    elif tracing.share == 0:  # then only what a caller traces is traced
        ingress.answer_directly(hot.names, app, lambda scope: header(scope, b"traceparent") != "")
    return app


def _asking(handle: DeploymentHandle, deadline_s: float) -> Callable[[list[Question]], Awaitable[Reply]]:
    # Made once. The messages are plain tuples, for which cloudpickle's look at each object is wasted.
    retrieve = handle.options(method_name="retrieve", request_serialization="pickle", response_serialization="pickle")

    async def ask_one(questions: list[Question]) -> Reply:
        """Ask a replica; ask another when it dies meanwhile."""
        while True:
            try:
                reply: Reply = await retrieve.remote(questions)
            except (RayActorError, DeploymentUnavailableError, ReplicaUnavailableError) as error:
                logger.warning("a retrieval replica is gone, asking another: %s", error)
                await asyncio.sleep(RETRY_S)
            else:
                return reply

    async def ask(questions: list[Question]) -> Reply:
        """Ask a replica, and others where it hangs, for as long as any request of the micro-batch can still wait."""
        return await first_answer(lambda: ask_one(questions), deadline_s * PATIENCE, deadline_s)

    return ask


async def _ask_similar(item_id: bytes, n: int) -> Similar:
    # Looked up at each call: the two applications start and restart independently.
    handle = serve.get_deployment_handle("Retrieval-champion", "recommend")
    similar: Similar = await handle.similar.remote(item_id, n)
    return similar


async def _ask_version(slot: str) -> str | None:
    """The version that a slot serves. A call to a deployment without replicas makes Serve start one."""
    version: str | None = await serve.get_deployment_handle(f"Retrieval-{slot}", "recommend").version.remote()
    return version


async def _hold(slot: str, seconds: float) -> None:
    await serve.get_deployment_handle(f"Retrieval-{slot}", "recommend").hold.remote(seconds)
