"""What autopilot does about all that is kept: compaction, retention of live quality, measuring against the budgets."""

import time

from configs.settings import Settings
from deployments.autopilot.autopilot_memory import Memory
from deployments.autopilot.compactor import Compactor
from deployments.operations.observation import Observation
from features.lifecycle.use import Use, measure
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.telemetry.quality_sums import forget_quality

TRIMMED_TOLD_MS = 3_600_000
"""How long an alert tells of exposures that were dropped."""


class Housekeeping:
    """One part of every look, in every mode.

    Attributes:
        use: what every group used when it was last measured.
        problems: what is to be told: name of an alert -> words.
    """

    def __init__(self, settings: Settings, client: StoreClient, keys: Keys) -> None:
        self._settings = settings
        self._client = client
        self._keys = keys
        self.compactor = Compactor(settings)
        self._measure_due_s = 0.0  # of the monotonic clock
        self.use: list[Use] = []
        self.problems: dict[str, str] = {}

    async def look(self, seen: Observation, memory: Memory) -> None:
        """Do what is due. Raises `StoreError`."""
        self.compactor.look(seen.backlog, seen.memory)
        if time.monotonic() >= self._measure_due_s:
            store = Use(group="store", used_bytes=seen.memory.used, budget_bytes=seen.memory.limit or None)
            self.use = [*await measure(self._client, self._keys, self._settings), store]
            await forget_quality(self._client, self._keys, self._settings.keeping.quality_days)
            self._measure_due_s = time.monotonic() + self._settings.keeping.measure_s
        self.problems = self._found(seen, memory)

    async def stop(self) -> None:
        """End a compaction that runs."""
        await self.compactor.stop()

    def _found(self, seen: Observation, memory: Memory) -> dict[str, str]:
        found = {
            f"budget_{one.group}": f"{one.text} are used: {one.share:.0%} of the budget"
            for one in self.use
            if one.share >= self._settings.keeping.warn_share
        }
        if self.compactor.problem is not None:
            found["compaction"] = self.compactor.problem
        trimmed = seen.backlog["exposures"].trimmed
        if trimmed > memory.trimmed:
            memory.trimmed, memory.trimmed_ms = trimmed, seen.time_ms
        if trimmed and seen.time_ms - memory.trimmed_ms < TRIMMED_TOLD_MS:
            found["exposures_trimmed"] = (
                f"{trimmed} exposures were dropped before they were logged, the latest within an hour"
            )
        return found
