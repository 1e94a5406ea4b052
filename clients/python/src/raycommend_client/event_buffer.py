"""The events that wait to be sent: what both queues know and decide, without threads or tasks."""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from raycommend_client.errors import (
    ApiError,
    EventsNotDelivered,
    InvalidRequest,
    QueueFull,
    RaycommendError,
    RefusedEvent,
)
from raycommend_client.events import with_ids
from raycommend_client.models import BatchAnswer, EventRefusal, EventRequest
from raycommend_client.retrying import Retry

logger = logging.getLogger("raycommend_client")
LATER = frozenset(
    ("store_unavailable", "store_busy", "store_full", "storage_full", "overloaded", "deadline_exceeded")
)  # fmt: skip
"""Codes of single events in a batch that the server asks to send again."""
MOST_KEPT_REFUSALS = 1000


@dataclass(frozen=True)
class QueueOptions:
    """How a queue keeps and sends events.

    Attributes:
        max_events: events that wait at most.
        batch_events: events in one request, up to 1,000.
        flush_every_s: longest time until a batch that is not full is sent.
        full_wait_s: how long `put` waits for room before it raises `QueueFull`; 0 raises at once.
        exit_timeout_s: how long the end of the program waits for what is still to be sent.
        on_refused: called with each event that the server will not take, from where events are sent. Without it `flush`
            and `close` raise those, the latest 1,000 of them. They are logged in any case.
        on_undelivered: called at the end of the program with the events that could not be sent. They are logged too.
    """

    max_events: int = 10_000
    batch_events: int = 500
    flush_every_s: float = 1.0
    full_wait_s: float = 0.0
    exit_timeout_s: float = 5.0
    on_refused: Callable[[RefusedEvent], None] | None = None
    on_undelivered: Callable[[Sequence[EventRequest]], None] | None = None

    def __post_init__(self) -> None:
        if self.max_events < 1:
            raise ValueError(f"max_events: should be 1 or more, not {self.max_events}")
        if not 1 <= self.batch_events <= 1000:
            raise ValueError(f"batch_events: should be 1 to 1000, not {self.batch_events}")
        if not self.flush_every_s > 0:
            raise ValueError(f"flush_every_s: should be more than 0, not {self.flush_every_s}")
        for name in ("full_wait_s", "exit_timeout_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: should be 0 or more, not {getattr(self, name)}")


class EventBuffer:
    """Events in the order in which they came, each with its id and time. Only one thread may be in it at a time.

    Attributes:
        last: number of the event that was put last, from 1.
        error: why the latest batch failed; None when it did not.
    """

    def __init__(self, options: QueueOptions, retry: Retry) -> None:
        self._options, self._retry = options, retry
        self._events: deque[tuple[int, EventRequest]] = deque()
        self._refused: deque[RefusedEvent] = deque(maxlen=MOST_KEPT_REFUSALS)
        self._at_once = options.batch_events
        self._failures = 0
        self._not_before_s = 0.0
        self._given_up = False
        self.last = 0
        self.error: Exception | None = None

    def __len__(self) -> int:
        return len(self._events)

    @property
    def has_room(self) -> bool:
        return len(self._events) < self._options.max_events

    @property
    def fills_a_batch(self) -> bool:
        return len(self._events) >= self._options.batch_events

    def put(self, event: EventRequest) -> str:
        """Take an event; it gets an id, and the time of now, where it has none. Returns the id. Raises QueueFull."""
        [event] = with_ids([event])
        if event.timestamp is None:
            event = event.model_copy(update={"timestamp": round(time.time(), 3)})
        if not self.has_room:
            raise QueueFull(event, self._options.max_events, self.error)
        self.last += 1
        self._events.append((self.last, event))
        assert event.event_id is not None
        return event.event_id

    def waits_until(self, goal: int) -> bool:
        """Whether any of the events up to number `goal` still waits."""
        return bool(self._events) and self._events[0][0] <= goal

    def next_batch(self) -> list[EventRequest]:
        """The events to send next. Until the answer is known they stay where they are, and no other batch is sent."""
        return [event for _, event in islice(self._events, self._at_once)]

    def wait_s(self) -> float:
        """How long to wait before the next batch: what the server asked for, or the wait after failures."""
        return max(self._not_before_s - time.monotonic(), 0.0)

    def answered(self, batch: Sequence[EventRequest], answer: BatchAnswer) -> list[RefusedEvent]:
        """Take over the answer to a batch. Returns the events that were refused for good."""
        if len(answer.results) != len(batch):
            return self.failed(batch, RaycommendError(f"{len(answer.results)} answers came to {len(batch)} events"))
        if self._given_up:
            return []
        again: list[tuple[int, EventRequest]] = []
        refused: list[RefusedEvent] = []
        error: ApiError | None = None
        for result in answer.results:
            entry = self._events.popleft()
            if not isinstance(result, EventRefusal):
                continue
            said = result.error
            if said.code in LATER:
                error = ApiError(503, said.code, said.message, said.field)
                again.append(entry)
            else:
                status = {"event_id_conflict": 409, "unknown_item": 404}.get(said.code, 422)
                refused.append(RefusedEvent(entry[1], ApiError(status, said.code, said.message, said.field)))
        self._events.extendleft(reversed(again))
        self._at_once = self._options.batch_events
        if error is None:
            self._failures, self._not_before_s, self.error = 0, 0.0, None
        else:
            self._wait_after(error, None)
        return refused

    def failed(self, batch: Sequence[EventRequest], error: Exception) -> list[RefusedEvent]:
        """Take over that a batch got no answer, or an error as a whole. Returns the events that were refused for good.

        What is wrong with a batch as a whole (too large, more than a key's limit) may be right for half of it.
        """
        if self._given_up:
            return []
        if isinstance(error, InvalidRequest):
            if len(batch) > 1:
                self._at_once = len(batch) // 2
                return []
            self._events.popleft()
            self._at_once = self._options.batch_events
            return [RefusedEvent(batch[0], error)]
        self._wait_after(error, error.retry_after_s if isinstance(error, ApiError) else None)
        return []

    def _wait_after(self, error: Exception, told_s: float | None) -> None:
        self._failures += 1
        self._not_before_s = time.monotonic() + (self._retry.backoff_s(self._failures) if told_s is None else told_s)
        self.error = error
        if self._failures == 1:
            logger.warning("events wait, and are sent again: %s", error)

    def tell(self, refused: Sequence[RefusedEvent]) -> None:
        """Tell of events that were refused for good."""
        for one in refused:
            logger.warning("event %s was refused: %s", one.event.event_id, one.error)
            if self._options.on_refused is None:
                self._refused.append(one)
                continue
            try:
                self._options.on_refused(one)
            except Exception:
                # It is the caller's own code, and the events behind this one must still be sent.
                logger.exception("on_refused failed for event %s", one.event.event_id)

    def outcome(self, goal: int, closing: bool) -> EventsNotDelivered | None:
        """What is to be said once the events up to number `goal` were to be sent. Refused ones are said once.

        Args:
            closing: what still waits is given up to the caller.
        """
        waiting = [event for number, event in self._events if number <= goal]
        refused = list(self._refused)
        self._refused.clear()
        if closing:
            self._given_up = True
            self._events.clear()
        return EventsNotDelivered(refused, waiting, self.error) if refused or waiting else None

    def report_left(self, error: EventsNotDelivered) -> None:
        """Say at the end of the program, where nobody can catch an error, what has not reached the server."""
        if not error.waiting:
            return
        ids = ", ".join(str(event.event_id) for event in error.waiting)
        logger.error("the program ends, and these events have not reached the server: %s (%s)", ids, error)
        if self._options.on_undelivered is not None:
            self._options.on_undelivered(error.waiting)
