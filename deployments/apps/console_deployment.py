"""`Console` as a Serve deployment."""

from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from configs.settings import Settings
from deployments.apps.asgi import at_root
from deployments.apps.handles import ask_similar, ask_version, hold
from deployments.console.console import Console
from deployments.console.routes import console_api
from deployments.events.endpoints import events_endpoints
from deployments.http.asgi_app import Endpoint
from deployments.recommend.endpoints import recommend_endpoints


@serve.deployment
@serve.ingress()
class ConsoleDeployment(Console):
    async def __init__(self, settings: Settings, _autopilot: DeploymentHandle) -> None:  # type: ignore[misc]
        # The handle makes autopilot part of this application; they meet in the store.
        super().__init__(settings, ask_similar, ask_version, hold)
        await self.start()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        app = console_api(lambda: self, self.settings.serving, _documented(self.settings))
        return at_root(self.access.guarded(app, console=True))


def _documented(settings: Settings) -> list[Endpoint]:
    """The endpoints of the other two applications, of which the console only serves the description."""

    def none() -> Any:
        raise RuntimeError("only the document of this application is made here")

    return [*recommend_endpoints(none, settings.serving), *events_endpoints(none, settings.serving)]
