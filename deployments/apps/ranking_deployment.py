"""`Ranking` as a Serve deployment, which asks the `Retrieval` deployments."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from configs.settings import Settings
from deployments.apps.asgi import endpoint_app, keep_for_good, served_app
from deployments.recommend.endpoints import recommend_endpoints
from deployments.recommend.first_answer import first_answer
from deployments.recommend.messages import Question, Reply
from deployments.recommend.ranking import Ranking
from deployments.replica.autoscaling import IN_FLIGHT
from deployments.replica.ray_metrics import RayMetrics

logger = logging.getLogger("ray.serve")
RETRY_S = 0.02
PATIENCE = 0.2
"""Which share of a request's deadline one retrieval replica gets before another is asked as well."""


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
