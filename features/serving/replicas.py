"""What each serving replica says of itself: the model it serves, and what it refused."""

from pydantic import BaseModel, ConfigDict

from configs import clock
from features.redis.connection import StoreClient
from features.redis.keys import Keys

SILENT_MS = 10_000


class ReplicaReport(BaseModel):
    """What one replica last said of itself."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    deployment: str
    time_ms: int
    model_version: str | None
    wanted_version: str | None
    problem: str | None
    catalogue_version: int
    index: str | None
    near_behind_s: float | None = None
    """For how long the near counts have not been level with the events; None where the model has none."""
    near_problem: str | None = None
    """Why they cannot be followed now."""


async def report_replica(client: StoreClient, keys: Keys, replica_id: str, report: ReplicaReport) -> None:
    """Write what this replica says of itself. Raises `StoreError`."""
    await client.run("HSET", keys.replicas, replica_id, report.model_dump_json())


async def read_replicas(client: StoreClient, keys: Keys) -> list[ReplicaReport]:
    """Reports of the last ten seconds; older ones are of replicas that are gone, and are removed.

    Raises:
        StoreError: the store does not answer.
    """
    pairs: dict[bytes, bytes] = await client.run("HGETALL", keys.replicas)
    now_ms = clock.now_ms()
    reports = {replica: ReplicaReport.model_validate_json(text) for replica, text in pairs.items()}
    # Where the clock was set back, what lies ahead is from before that: who lives will report again at once.
    gone = [replica for replica, report in reports.items() if abs(now_ms - report.time_ms) > SILENT_MS]
    if gone:
        await client.run("HDEL", keys.replicas, *gone)
    return [report for replica, report in reports.items() if replica not in gone]
