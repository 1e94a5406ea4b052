"""Micro-batching by the caller: concurrent requests share one call.

While a call is in flight the next batch gathers, so batches form exactly when there is load and a lone request
never waits for a timer.
"""

import asyncio
import contextvars
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

LEAST_SHARE = 8
Question = TypeVar("Question")
Answer = TypeVar("Answer")
logger = logging.getLogger("ray.serve")


class MicroBatcher(Generic[Question, Answer]):
    """Collects questions and asks them together.

    A call takes its even share of all questions there are, those in flight counted, and leaves the rest to the next
    one. Otherwise the calls of a busy caller grow together: both processes would take turns instead of working side by
    side.

    Args:
        call: answers a list of questions, one answer each, in order. An answer that is an exception is raised to
            its own caller only; an exception of the call itself is raised to the whole batch.
        max_batch: questions in one call, at most.
        concurrency: calls in flight at once, at most.
    """

    def __init__(
        self,
        call: Callable[[list[Question]], Awaitable[Sequence[Answer | Exception]]],
        max_batch: int = 64,
        concurrency: int = 1,
    ) -> None:
        self._call = call
        self._max_batch = max_batch
        self._concurrency = concurrency
        self._waiting: OrderedDict[asyncio.Future[Answer], Question] = OrderedDict()  # in the order of asking
        self._active = 0
        self._in_flight = 0  # questions, in all calls that are under way
        self._tasks: set[asyncio.Task[None]] = set()  # A strong reference: the loop itself holds tasks weakly.

    async def ask(self, question: Question) -> Answer:
        """Ask one question. A caller that is cancelled leaves the others untouched."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting[future] = question
        if self._active < self._concurrency:
            self._active += 1
            # Serve cancels the calls made in the context of a cancelled request. In a context of its own, this task
            # outlives the client that happened to start it; otherwise one hang-up would stop every later request.
            task = loop.create_task(self._flush(), context=contextvars.Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            return await future
        finally:
            # While calls hang, clients give up: what they asked must not wait on, nor count as waiting.
            self._waiting.pop(future, None)

    @property
    def waiting(self) -> int:
        """Questions that are in no call yet."""
        return len(self._waiting)

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch: list[tuple[Question, asyncio.Future[Answer]]] = []
                share = -(-(len(self._waiting) + self._in_flight) // self._concurrency)
                while self._waiting and len(batch) < min(max(share, LEAST_SHARE), self._max_batch):
                    future, question = self._waiting.popitem(last=False)
                    if not future.done():  # else its client hung up a moment ago
                        batch.append((question, future))
                if batch:
                    self._in_flight += len(batch)
                    try:
                        await self._answer(batch)
                    finally:
                        self._in_flight -= len(batch)
        finally:
            # Here, not in a done callback: that runs later, and a question asked in between would wait for ever.
            self._active -= 1

    async def _answer(self, batch: list[tuple[Question, "asyncio.Future[Answer]"]]) -> None:
        try:
            answers: Sequence[Answer | Exception] = await self._call([question for question, _ in batch])
            if len(answers) != len(batch):
                raise RuntimeError(f"asked {len(batch)} questions, got {len(answers)} answers")
        except asyncio.CancelledError:
            # The call was cancelled, not this task's duty to the others.
            answers = [ConnectionError("the call was cancelled")] * len(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the callers; this task must survive
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
