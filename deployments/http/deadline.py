"""One deadline for many requests: a timer of its own for each would cost 30 microseconds a request."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlines:
    """Runs coroutines, each at most `limit_s` long. All have the same limit, so the first to come is the first due.

    It holds inside the application: a client can switch off Serve's own deadline with a header.

    Args:
        limit_s: how long a coroutine may run, in seconds.
        grain_s: how late the end of a deadline may be noticed, in seconds.
    """

    def __init__(self, limit_s: float, grain_s: float = 0.02) -> None:
        self.limit_s = limit_s
        self._grain_s = grain_s
        self._running: deque[_Entry] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` and return its result. Raises TimeoutError when the limit was over; `work` is cancelled then."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        entry = _Entry(task, loop.time() + self.limit_s)
        self._running.append(entry)
        if self._timer is None:
            self._timer = loop.call_later(self.limit_s, self._check, loop)
        try:
            return await work
        except asyncio.CancelledError:
            # As asyncio.timeout does: a cancellation that is ours becomes a TimeoutError, another's goes on.
            if entry.expired and task.uncancel() <= entry.cancelling:
                raise TimeoutError from None
            raise
        finally:
            entry.done = True

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        running = self._running
        while running and (running[0].done or running[0].due <= now):
            entry = running.popleft()
            if not entry.done:
                entry.expired = True
                entry.task.cancel()
        self._timer = None
        if running:
            self._timer = loop.call_later(max(running[0].due - now, self._grain_s), self._check, loop)


class _Entry:
    __slots__ = ("cancelling", "done", "due", "expired", "task")

    def __init__(self, task: "asyncio.Task[Any]", due: float) -> None:
        self.task = task
        self.due = due
        self.cancelling = task.cancelling()
        self.done = False
        self.expired = False
