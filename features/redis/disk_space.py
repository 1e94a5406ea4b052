"""Free space on the disk of a store that runs on this machine. The store exits when it cannot write, so writes stop
before it is that far."""

import shutil
from dataclasses import dataclass

from configs.settings import Settings
from features.redis.errors import StorageFull

WARN_TIMES = 4
"""A warning comes at this many times the floor."""


@dataclass(frozen=True)
class DiskSpace:
    """Bytes on the disk that the store writes to.

    Attributes:
        floor: below it, events are refused and lists are not counted; 0 never refuses.
    """

    free: int
    floor: int

    @property
    def refuses(self) -> bool:
        return self.free < self.floor

    @property
    def problem(self) -> str | None:
        """What is wrong, in words; None while there is room."""
        if self.refuses:
            return (
                f"{self.free / 1e6:,.0f} MB are free on the disk of the online store, less than the floor of "
                f"{self.floor / 1e6:,.0f} MB: it refuses events, lists are shown but not counted; make room"
            )
        if self.free < WARN_TIMES * self.floor:
            return (
                f"{self.free / 1e6:,.0f} MB are free on the disk of the online store; below "
                f"{self.floor / 1e6:,.0f} MB it refuses events: make room"
            )
        return None


def require_room(settings: Settings) -> None:
    """What writes more than a little asks this before each part. Raises StorageFull."""
    space = read_disk_space(settings)
    if space is not None and space.refuses:
        raise StorageFull(str(space.problem))


def read_disk_space(settings: Settings) -> DiskSpace | None:
    """Look at the disk; it takes microseconds. None where the store is not on this machine, so that its disk cannot be
    seen from here."""
    if settings.store.url is not None:
        return None
    try:
        free = shutil.disk_usage(settings.state_dir / "store").free
    except OSError:
        return None
    return DiskSpace(free, int(settings.store.disk_floor_mb * 1e6))
