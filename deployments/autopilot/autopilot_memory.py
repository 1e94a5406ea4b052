"""What autopilot keeps in the store between two looks, so that the next replica goes on where a killed one was."""

import logging

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments.autopilot.alerts import Told
from deployments.autopilot.promotion_guard import Watched
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
    watched: Watched | None = None
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


async def remember(client: StoreClient, keys: Keys) -> Memory:
    """What was saved last; an empty memory where nothing was, or where it cannot be read."""
    found = await client.run("HGET", keys.autopilot, _MEMORY)
    if found is None:
        return Memory()
    try:
        return Memory.model_validate_json(found)
    except ValidationError as error:
        logger.warning("autopilot: what an earlier version remembered cannot be read, starting anew: %s", error)
        return Memory()


async def save(client: StoreClient, keys: Keys, memory: Memory) -> None:
    """Keep the memory for the next look. Raises `StoreError`."""
    await client.run("HSET", keys.autopilot, _MEMORY, memory.model_dump_json())
