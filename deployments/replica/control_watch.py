"""Watching the control keys: how every replica learns of new models and items within a fraction of a second."""

import asyncio
import contextvars
import logging
import time
import uuid
from collections.abc import Awaitable, Callable

from features.redis.connection import StoreClient
from features.redis.errors import StoreError, StoreUnavailable
from features.redis.keys import Keys
from features.serving.slots import read_control

logger = logging.getLogger("ray.serve")
STUCK_S = 10.0
RETRY_S = 15.0


async def _nothing() -> None:
    return None


class ControlWatch:
    """Polls the version numbers in one round trip and calls back what changed.

    The callbacks are also called at the start. `on_slots` may take long (it loads a model) and runs beside the
    polling, so that a hidden item disappears within a second even while a large model loads. What fails is
    logged and tried again at the next poll; a callback that fails keeps no other from following.

    Args:
        interval_s: time between polls.
        on_slots: the serving state changed, and with it perhaps a slot.
        on_catalogue: the catalogue changed.
        on_erasures: a user was erased.
        on_traffic: the serving state changed, and with it perhaps an experiment or the rollout.
        on_access: an API key was made, rotated or revoked.
        on_interval: (seconds, callback), called regularly while the store answers.
        on_beat: the same, also while it does not.
    """

    def __init__(
        self,
        client: StoreClient,
        keys: Keys,
        interval_s: float,
        on_slots: Callable[[], Awaitable[None]] = _nothing,
        on_catalogue: Callable[[], Awaitable[None]] = _nothing,
        on_erasures: Callable[[], Awaitable[None]] = _nothing,
        on_traffic: Callable[[], Awaitable[None]] = _nothing,
        on_access: Callable[[], Awaitable[None]] = _nothing,
        on_interval: tuple[float, Callable[[], Awaitable[None]]] | None = None,
        on_beat: tuple[float, Callable[[], Awaitable[None]]] | None = None,
    ) -> None:
        self.replica_id = uuid.uuid4().hex[:12]
        self._client = client
        self._keys = keys
        self._interval_s = interval_s
        self._on_slots = on_slots
        self._on_catalogue = on_catalogue
        self._on_erasures = on_erasures
        self._on_traffic = on_traffic
        self._on_access = on_access
        self._on_interval = on_interval
        self._on_beat = on_beat
        self._beat_due = 0.0
        self._slots_version = -1
        self._taken: dict[str, int] = {}  # step -> the version that it has followed
        self._failing: set[str] = set()
        self._slots_task: asyncio.Task[None] | None = None
        self._slots_due = 0.0
        self._interval_due = 0.0
        self._last_turn = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.store_answers = True

    async def start(self) -> None:
        """Call every callback once, then watch in the background."""
        await self._turn()
        if self._slots_task is not None:
            await self._slots_task
        if self._on_interval is not None and self.store_answers:
            # The callbacks run once more, since now there is a model to which their results apply.
            self._interval_due = 0.0
            await self._turn()
        # In a context of its own: see `MicroBatcher.ask`.
        self._task = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())

    async def stop(self) -> None:
        """End the background work, and the connection."""
        # The loop looks at this too: a cancellation that meets a timeout inside the client may be lost on its way.
        self._stopping = True
        tasks = [task for task in (self._task, self._slots_task) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    def check_health(self) -> None:
        """Raises RuntimeError when the loop no longer turns; Serve then replaces the replica."""
        silent_s = time.monotonic() - self._last_turn
        if self._task is None or self._task.done() or silent_s > STUCK_S:
            raise RuntimeError(f"the watch loop has not turned for {silent_s:.0f} s")

    async def _run(self) -> None:
        while not self._stopping:
            await asyncio.sleep(self._interval_s)
            await self._turn()
            if self._on_beat is not None and time.monotonic() >= self._beat_due:
                self._beat_due = time.monotonic() + self._on_beat[0]
                try:
                    await self._on_beat[1]()
                except Exception:
                    logger.exception("the regular report failed, trying on")

    async def _turn(self) -> None:
        self._last_turn = time.monotonic()
        try:
            control = await read_control(self._client, self._keys)
            for name, version, callback in (
                ("access", control.access_version, self._on_access),
                ("catalogue", control.catalogue_version, self._on_catalogue),
                ("erasures", control.erasures_version, self._on_erasures),
                ("traffic", control.serving_version, self._on_traffic),
            ):
                if version != self._taken.get(name) and await self._step(name, callback):
                    self._taken[name] = version
            if self._slots_task is None or self._slots_task.done():
                changed = control.serving_version != self._slots_version
                if changed or time.monotonic() > self._slots_due:
                    self._slots_version = control.serving_version
                    self._slots_due = time.monotonic() + RETRY_S
                    self._slots_task = asyncio.create_task(self._follow_slots())
            if self._on_interval is not None and time.monotonic() >= self._interval_due:
                self._interval_due = time.monotonic() + self._on_interval[0]
                await self._step("interval", self._on_interval[1])
        except StoreError as error:
            if self.store_answers:
                logger.warning("%s; trying on", error)
            self.store_answers = False
        except Exception:
            logger.exception("watching the control keys failed, trying on")
        else:
            if not self.store_answers:
                logger.warning("the online store answers again")
            self.store_answers = True

    async def _step(self, name: str, callback: Callable[[], Awaitable[None]]) -> bool:
        """Take one step of a turn. Returns whether it succeeded; one that fails is tried again, and the others go on.

        Raises:
            StoreUnavailable: the store is silent, so that the other steps would only wait for it too.
        """
        try:
            await callback()
        except StoreUnavailable:
            raise
        except Exception as error:
            if name not in self._failing:  # and not again several times a second
                logger.exception("following the %s failed, trying on: %s", name, error)
            self._failing.add(name)
            return False
        if name in self._failing:
            self._failing.discard(name)
            logger.warning("following the %s works again", name)
        return True

    async def _follow_slots(self) -> None:
        try:
            done = await self._step("slots", self._on_slots)
        except StoreUnavailable as error:
            done = False
            logger.warning("the slots could not be read: %s", error)
        if not done:
            self._slots_version = -1  # The next poll then tries again.
