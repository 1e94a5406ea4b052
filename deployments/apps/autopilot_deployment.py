"""`Autopilot` as a Serve deployment."""

from ray import serve

from configs.settings import Settings
from deployments.apps.handles import ask_version, hold
from deployments.autopilot.autopilot import Autopilot


@serve.deployment
class AutopilotDeployment(Autopilot):
    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]
        super().__init__(settings, ask_version, hold)
        await self.start()
