"""What autopilot keeps in the store between two looks, so that the next replica goes on where a killed one was."""

import logging

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from configs import clock
from deployments.autopilot.alerts import Told
from deployments.autopilot.promotion_guard import WatchedPromotion
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.slots import Slot

logger = logging.getLogger("ray.serve")
_MEMORY = "memory"


class Memory(BaseModel):
    """What autopilot keeps between two looks, beside the run."""

    model_config = ConfigDict(extra="ignore")

    champion: Slot | None = None
    """The champion when it was last seen; another one since then is a promotion or a rollback."""
    watched: WatchedPromotion | None = None
    failures: int = 0
    """How many retrainings in a row promoted nothing."""
    quiet_until_ms: int = 0
    """Autopilot starts no retraining before this."""
    reweighed_ms: int = 0
    """When the weights of bandits were last looked at."""
    scheduled_ms: int = 0
    """Up to when the schedule was looked at."""
    trimmed: int = 0
    """How many exposures had been dropped unlogged, and when that last grew."""
    trimmed_ms: int = 0
    noted: dict[str, int] = Field(default_factory=dict)
    """Drift and triggers that are in the timeline and still hold, each with its beginning."""
    told: dict[str, Told] = Field(default_factory=dict)
    looked_ms: int = 0
    """When autopilot last looked, by its clock."""

    def follow_clock(self, now_ms: int) -> None:
        """Move every moment back with a clock that was set back since the last look: what was to wait for so long waits
        no longer than that. Of a clock that was set ahead nobody can tell that it is no long pause."""
        back_ms = self.looked_ms - now_ms
        self.looked_ms = now_ms
        if back_ms <= 0:
            return
        self.quiet_until_ms -= back_ms
        self.reweighed_ms -= back_ms
        self.scheduled_ms = max(0, self.scheduled_ms - back_ms)  # 0 says that it never was looked at
        self.trimmed_ms -= back_ms
        self.noted = {name: since_ms - back_ms for name, since_ms in self.noted.items()}
        self.told = {name: told.earlier(back_ms) for name, told in self.told.items()}
        if self.watched is not None:
            since_ms, until_ms = self.watched.since_ms - back_ms, self.watched.until_ms - back_ms
            self.watched = self.watched.model_copy(update={"since_ms": since_ms, "until_ms": until_ms})


async def remember(client: StoreClient, keys: Keys) -> Memory:
    """What was saved last, by the clock as it is now; an empty memory where nothing was, or where it cannot be read."""
    found = await client.run("HGET", keys.autopilot, _MEMORY)
    memory = Memory()
    if found is not None:
        try:
            memory = Memory.model_validate_json(found)
        except ValidationError as error:
            logger.warning("autopilot: what an earlier version remembered cannot be read, starting anew: %s", error)
    memory.follow_clock(clock.now_ms())
    return memory


async def save(client: StoreClient, keys: Keys, memory: Memory) -> None:
    """Keep the memory for the next look. Raises `StoreError`."""
    await client.run("HSET", keys.autopilot, _MEMORY, memory.model_dump_json())
