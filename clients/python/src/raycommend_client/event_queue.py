"""A queue that sends events in batches from a thread of its own, so that nobody waits for them."""

import atexit
import os
import threading
import time
from types import TracebackType
from typing import Any

from raycommend_client.calls import record_events
from raycommend_client.client import Client
from raycommend_client.errors import EventsNotDelivered
from raycommend_client.event_buffer import EventBuffer, QueueOptions
from raycommend_client.events import Event
from raycommend_client.models import EventRequest
from raycommend_client.retrying import Retry

_ONCE = Retry(attempts=1)


class EventQueue:
    """Takes events at once and sends them in batches. Their order is kept. An event is sent until the server has
    answered for it, always with the same id, so that it counts once.

    Args:
        client: through which it sends. Close the queue before the client.
        options: see `QueueOptions`. A function of them that blocks holds up all events.

    At the end of the program the queue sends what waits. A program that a signal kills has no such end: let its handler
    of SIGTERM call `close`, or `sys.exit`.
    """

    def __init__(self, client: Client, options: QueueOptions | None = None) -> None:
        self._client = client
        self._options = options or QueueOptions()
        self._start()
        atexit.register(self._at_exit)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._buffer = EventBuffer(self._options, self._client.options.retry)
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._closed = False
        threading.Thread(target=self._run, name="raycommend-events", daemon=True).start()

    def _here(self) -> None:
        """Start anew in a forked process: the parent sends what it had, and its thread and locks are not here."""
        if self._pid != os.getpid():
            self._start()

    def __len__(self) -> int:
        """Events that wait."""
        self._here()
        return len(self._buffer)

    def put(self, user_id: int | str, item_id: int | str, event_type: str, **fields: Any) -> str:
        """Take an event; `fields` are the others of `EventRequest`. Its time is now, unless `timestamp` says otherwise.

        Returns:
            The event's id.

        Raises:
            InvalidRequest: a field is wrong; it is named.
            QueueFull: there is no room, and none came in `full_wait_s`. The event was not taken.
        """
        return self.put_event(Event.of(user_id, item_id, event_type, **fields))

    def put_event(self, event: EventRequest) -> str:
        """The same for an event that is made already."""
        self._here()
        with self._changed:
            if not self._buffer.has_room and self._options.full_wait_s:
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._buffer.has_room or self._closed, self._options.full_wait_s)
            if self._closed:
                raise RuntimeError("the queue is closed")
            event_id = self._buffer.put(event)
            if self._buffer.fills_a_batch:
                self._changed.notify_all()
        return event_id

    def flush(self, timeout_s: float = 30.0) -> None:
        """Send all that was put so far, and wait for the answers.

        Raises:
            EventsNotDelivered: it has the events that were refused since the last `flush`, and those that still wait.
        """
        self._here()
        self._flush(timeout_s, closing=False)

    def close(self, timeout_s: float = 30.0) -> None:
        """Send what waits, and take no more events. Raises as `flush` does; what still waited is the caller's then."""
        self._here()
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        atexit.unregister(self._at_exit)
        self._flush(timeout_s, closing=True)

    def _flush(self, timeout_s: float, closing: bool) -> None:
        ends_s = time.monotonic() + timeout_s
        with self._changed:
            goal = self._buffer.last
        while self._waits_until(goal):
            wait_s = self._buffer.wait_s()
            if wait_s >= ends_s - time.monotonic():
                break
            time.sleep(wait_s)
            self._send_batch(max(ends_s - time.monotonic(), 0.0))
        with self._changed:
            outcome = self._buffer.outcome(goal, closing)
        if outcome is not None:
            raise outcome

    def _waits_until(self, goal: int) -> bool:
        with self._changed:
            return self._buffer.waits_until(goal)

    def _send_batch(self, timeout_s: float) -> None:
        """Send one batch, once no other thread is sending one: so they keep their order."""
        if not self._sending.acquire(timeout=timeout_s):
            return
        try:
            with self._changed:
                batch = [] if self._buffer.wait_s() else self._buffer.next_batch()
            if not batch:
                return
            within_s = max(min(self._client.options.timeout_s, timeout_s), 0.001)
            client = self._client.with_options(timeout_s=within_s, retry=_ONCE)
            try:
                answer = client.send(record_events(batch))
            except Exception as error:  # noqa: BLE001 - a token's function, say; the thread must go on, and the error is kept
                with self._changed:
                    refused = self._buffer.failed(batch, error)
                    self._changed.notify_all()
            else:
                with self._changed:
                    refused = self._buffer.answered(batch, answer)
                    self._changed.notify_all()
            self._buffer.tell(refused)
        finally:
            self._sending.release()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._buffer.fills_a_batch, self._options.flush_every_s)
                self._changed.wait_for(lambda: self._closed, self._buffer.wait_s())
                if self._closed:
                    return
            self._send_batch(self._client.options.timeout_s)

    def _at_exit(self) -> None:
        if self._pid != os.getpid():
            return
        try:
            self.close(self._options.exit_timeout_s)
        except EventsNotDelivered as error:
            self._buffer.report_left(error)

    def __enter__(self) -> "EventQueue":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
