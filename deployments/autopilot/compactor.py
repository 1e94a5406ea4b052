"""Moves the streams into the log by itself: when their oldest entry is old, or when they have grown large."""

import asyncio
import contextvars
import logging
import time
from collections.abc import Mapping

from configs.groups.keeping import Keeping
from configs.settings import Settings, Store
from features.redis.errors import StoreBusy
from features.redis.memory import StoreMemory
from features.streams.backlog import Backlog
from features.streams.compaction import compact

logger = logging.getLogger("ray.serve")
LIMIT_SHARE = 4
"""The streams may use one part in so many of the store's limit, whatever their budget says."""
BUSY_S = 10.0
FIRST_WAIT_S, LONGEST_WAIT_S = 30.0, 3600.0


def streams_budget(keeping: Keeping, memory: StoreMemory) -> int:
    """Bytes that the streams may use in this store."""
    return min(keeping.streams_bytes, memory.limit // LIMIT_SHARE) if memory.limit else keeping.streams_bytes


def calls_for_compaction(
    backlog: Mapping[str, Backlog], memory: StoreMemory, keeping: Keeping, store: Store
) -> str | None:
    """Why the streams should go to the log now, in words; None while they need not."""
    if not any(one.pending for one in backlog.values()):
        return None
    oldest_h = max(one.lag_s for one in backlog.values()) / 3600
    if keeping.compact_every_h and oldest_h >= keeping.compact_every_h:
        return f"the oldest entry is {oldest_h:.1f} h old"
    used, budget = sum(one.used_bytes for one in backlog.values()), streams_budget(keeping, memory)
    if used >= keeping.compact_share * budget:
        return f"the streams use {used / 1e6:.1f} of {budget / 1e6:.1f} MB"
    longest = backlog["exposures"].longest
    if store.max_exposures and longest >= keeping.compact_share * store.max_exposures:
        return f"a partition has {longest} of {store.max_exposures} exposures, and what comes after is dropped"
    return None


class Compactor:
    """Runs one compaction at a time, in the background, on a connection of its own.

    It holds the lock of maintenance, so a person's compaction, a backup or another replica of autopilot never works
    beside it; where it is killed, nothing is lost or repeated, and the next one goes on.

    Attributes:
        problem: why the latest one failed, in words; None after one that did not.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self._due_s = 0.0  # of the monotonic clock
        self._failures = 0
        self.problem: str | None = None

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    def look(self, backlog: Mapping[str, Backlog], memory: StoreMemory) -> None:
        """Begin a compaction where one is due, and none runs."""
        if self.running or time.monotonic() < self._due_s:
            return
        reason = calls_for_compaction(backlog, memory, self._settings.keeping, self._settings.store)
        if reason is not None:
            # In a context of its own: see `MicroBatcher.ask`.
            self._task = asyncio.get_running_loop().create_task(self._run(reason), context=contextvars.Context())

    async def stop(self) -> None:
        """End the one that runs: it gives its lock back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, reason: str) -> None:
        try:
            done = await compact(self._settings, wait_s=0.0)
        except StoreBusy as error:
            self._due_s = time.monotonic() + BUSY_S
            logger.info("autopilot compacts later: %s", error)
        except Exception as error:  # whatever it is, autopilot goes on, and says so
            wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(self._failures, 20))
            self._failures += 1
            self._due_s = time.monotonic() + wait_s
            self.problem = (
                f"the streams could not be moved to the log ({reason}): {error}; tried again in {wait_s:.0f} s"
            )
            logger.exception("autopilot: a compaction failed")
        else:
            self._failures, self.problem = 0, None
            logger.info("autopilot compacted %d events and %d exposures: %s", done.events, done.exposures, reason)
