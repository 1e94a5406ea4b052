"""Autopilots for one look each, as if each had been killed after it."""

from configs.settings import Settings
from deployments.autopilot.autopilot import Autopilot
from deployments.operations.ray_jobs import RayJobs
from deployments.operations.retraining import Retraining
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.retraining_run import read_last_run, read_run
from features.serving.run_record import Run
from features.serving.slots import read_slots


class Pilots:
    """New instances for one look each."""

    def __init__(self, settings: Settings, client: StoreClient, keys: Keys) -> None:
        self.settings, self.client, self.keys = settings, client, keys

    async def look(self, times: int = 1) -> None:
        for _ in range(times):
            pilot = Autopilot(self.settings, self._version, self._hold)
            await pilot.look()
            await pilot.stop()

    async def _version(self, slot: str) -> str | None:
        found = (await read_slots(self.client, self.keys)).get(slot)
        return found.version if found else None

    async def _hold(self, slot: str, seconds: float) -> None:
        return None

    def retraining(self) -> Retraining:
        return Retraining(self.settings, self.client, self.keys, RayJobs(self.settings))

    async def ended(self) -> Run:
        found = await read_last_run(self.client, self.keys)
        assert found is not None
        assert await read_run(self.client, self.keys) is None
        return found
