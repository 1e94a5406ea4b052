"""`Ingestion` as a Serve deployment."""

from ray import serve
from starlette.types import ASGIApp

from configs.settings import Settings
from deployments.apps.asgi import endpoint_app, keep_for_good, served_app
from deployments.events.endpoints import events_endpoints
from deployments.events.ingestion import Ingestion
from deployments.replica.autoscaling import IN_FLIGHT
from deployments.replica.ray_metrics import RayMetrics


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
