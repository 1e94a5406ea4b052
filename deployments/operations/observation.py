"""What the monitor reads at one moment, of which all views, alerts and metrics are made."""

from collections.abc import Mapping
from dataclasses import dataclass

from configs.supervision import Supervision
from deployments.operations.heartbeat import Heartbeat
from features.redis.disk_space import DiskSpace
from features.redis.memory import StoreMemory
from features.serving.run_record import Run
from features.serving.slots import CHAMPION, Slot
from features.streams.backlog import Backlog
from features.telemetry.counters import Telemetry
from features.telemetry.quality_sums import QualitySums
from models.bundle.manifest import Manifest


@dataclass(frozen=True)
class Observation:
    """Everything that the views are made of, as read at one moment."""

    time_ms: int
    telemetry: Telemetry
    backlog: dict[str, Backlog]
    state_version: int
    """Version of the serving state."""
    slots: Mapping[str, Slot]
    manifests: dict[str, Manifest]
    run: Run | None
    last_run: Run | None
    log_rows: int
    quality: list[QualitySums]
    n_items: dict[str, int]
    """Number of items of each version in `quality` whose bundle is still on disk."""
    heartbeat: Heartbeat | None
    """What autopilot last saw; None where it never looked."""
    memory: StoreMemory
    disk: DiskSpace | None = None
    """Of a store on this machine."""
    supervision: Supervision | None = None
    """Of a local stack."""


def events_since_training(seen: Observation, simulated: int | None = None) -> int | None:
    """Events that the champion has not learned from: logged or waiting, less those that its training read. Simulated
    ones only count where training learns from them.

    Args:
        simulated: how many of the waiting ones are left out as simulated; None for what autopilot last saw.

    Never below 0, though erased users take events away that it did learn from. None without a readable champion.
    """
    manifest = seen.manifests.get(CHAMPION)
    if manifest is None:
        return None
    if simulated is None:
        simulated = seen.heartbeat.simulated_pending if seen.heartbeat else 0
    waiting = max(0, seen.backlog["events"].pending - simulated)
    return max(0, seen.log_rows + waiting - manifest.data.log_events)
