"""The queue of events for programs on asyncio."""

import asyncio
import atexit
import contextlib
import time
from types import TracebackType
from typing import Any

from raycommend_client.async_client import AsyncClient
from raycommend_client.calls import record_events
from raycommend_client.event_buffer import EventBuffer, QueueOptions
from raycommend_client.events import Event
from raycommend_client.models import EventRequest
from raycommend_client.retrying import Retry

_ONCE = Retry(attempts=1)


class AsyncEventQueue:
    """The same as `EventQueue`, to be awaited: `async with AsyncEventQueue(client) as queue`.

    It sends from a task of the loop that it was entered in. When the program ends there is no loop any more to send by:
    a queue that was not closed then says in the log, and to `on_undelivered`, which events it still has.
    """

    def __init__(self, client: AsyncClient, options: QueueOptions | None = None) -> None:
        self._client = client
        self._options = options or QueueOptions()
        self._buffer = EventBuffer(self._options, client.options.retry)
        self._changed = asyncio.Event()  # events came, or some left
        self._sending = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        atexit.register(self._at_exit)

    def __len__(self) -> int:
        """Events that wait."""
        return len(self._buffer)

    async def put(self, user_id: int | str, item_id: int | str, event_type: str, **fields: Any) -> str:
        """Take an event; see `EventQueue.put`."""
        return await self.put_event(Event.of(user_id, item_id, event_type, **fields))

    async def put_event(self, event: EventRequest) -> str:
        """The same for an event that is made already."""
        ends_s = time.monotonic() + self._options.full_wait_s
        while not self._buffer.has_room and not self._closed and (left_s := ends_s - time.monotonic()) > 0:
            await self._wait(left_s)
        if self._closed:
            raise RuntimeError("the queue is closed")
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        event_id = self._buffer.put(event)
        if self._buffer.fills_a_batch:
            self._notify()
        return event_id

    async def flush(self, timeout_s: float = 30.0) -> None:
        """Send all that was put so far, and wait for the answers. Raises as `EventQueue.flush` does."""
        await self._flush(timeout_s, closing=False)

    async def aclose(self, timeout_s: float = 30.0) -> None:
        """Send what waits, and take no more events. Raises as `flush` does; what still waited is the caller's then."""
        if self._closed:
            return
        self._closed = True
        self._notify()
        atexit.unregister(self._at_exit)
        try:
            await self._flush(timeout_s, closing=True)
        finally:
            if self._task is not None:
                self._task.cancel()

    async def _flush(self, timeout_s: float, closing: bool) -> None:
        ends_s = time.monotonic() + timeout_s
        goal = self._buffer.last
        while self._buffer.waits_until(goal):
            wait_s = self._buffer.wait_s()
            if wait_s >= ends_s - time.monotonic():
                break
            await asyncio.sleep(wait_s)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._send_batch(), max(ends_s - time.monotonic(), 0.0))
        outcome = self._buffer.outcome(goal, closing)
        if outcome is not None:
            raise outcome

    async def _send_batch(self) -> None:
        async with self._sending:
            batch = [] if self._buffer.wait_s() else self._buffer.next_batch()
            if not batch:
                return
            try:
                answer = await self._client.with_options(retry=_ONCE).send(record_events(batch))
            except Exception as error:  # noqa: BLE001 - a token's function, say; the task must go on, and the error is kept
                refused = self._buffer.failed(batch, error)
            else:
                refused = self._buffer.answered(batch, answer)
            self._buffer.tell(refused)
            self._notify()

    async def _run(self) -> None:
        while not self._closed:
            if not self._buffer.fills_a_batch:
                await self._wait(self._options.flush_every_s)
            await asyncio.sleep(self._buffer.wait_s())
            await self._send_batch()

    def _notify(self) -> None:
        """Wake whoever waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait(self, seconds: float) -> None:
        """Until something changes, for so long at most."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    def _at_exit(self) -> None:
        left = self._buffer.outcome(self._buffer.last, closing=True)
        if left is not None:
            self._buffer.report_left(left)

    async def __aenter__(self) -> "AsyncEventQueue":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
