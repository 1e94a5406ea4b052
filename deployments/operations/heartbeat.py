"""What autopilot last saw, for whoever shows it."""

from pydantic import BaseModel, ConfigDict, ValidationError

from deployments.operations.monitor_views import Alert, DriftView
from features.lifecycle.use import Use
from features.redis.connection import StoreClient
from features.redis.keys import Keys

_FIELD = "heartbeat"


class Heartbeat(BaseModel):
    """What autopilot saw when it last looked."""

    model_config = ConfigDict(extra="ignore")

    time_ms: int
    drift: list[DriftView]
    alerts: list[Alert]
    watching: str | None
    failures: int
    quiet_until_ms: int
    skipped_lists: int
    simulated_pending: int = 0
    """Events outside the log that training leaves out, since they are simulated."""
    events_counted: int | None = None
    """What the events that no model has learned from count for; None where that is not known, or calls for nothing."""
    problems: dict[str, str]
    use: list[Use] = []
    """What every group of `features.lifecycle.table` used when it was last measured."""
    store_durable: bool | None
    mismatched_replicas: int
    near_behind_s: float | None = None
    """How far the near counts of the replica that is furthest behind are behind the events; None without any."""
    experiments: dict[str, bool]
    """Running experiments, each with whether its sample ratio is as it should be."""


async def write_heartbeat(client: StoreClient, keys: Keys, beat: Heartbeat) -> None:
    """Keep what autopilot saw for whoever shows it. Raises `StoreError`."""
    await client.run("HSET", keys.autopilot, _FIELD, beat.model_dump_json())


async def read_heartbeat(client: StoreClient, keys: Keys) -> Heartbeat | None:
    """What autopilot last saw; None where it never looked, or another version of it did. Raises `StoreError`."""
    found = await client.run("HGET", keys.autopilot, _FIELD)
    if found is None:
        return None
    try:
        return Heartbeat.model_validate_json(found)
    except ValidationError:
        return None  # This happens during an upgrade; the next look writes it anew.
