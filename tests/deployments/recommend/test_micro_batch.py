import asyncio

import pytest

from deployments.recommend.micro_batch import MicroBatcher


class Recorder:
    """Doubles numbers, remembers the batches, and answers only when told."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.failures: list[Exception] = []

    async def __call__(self, numbers: list[int]) -> list[int | Exception]:
        self.batches.append(numbers)
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop()
        return [ValueError(f"odd {n}") if n == 13 else 2 * n for n in numbers]


def test_a_lone_question_does_not_wait_and_later_ones_share_a_call() -> None:
    async def scenario() -> None:
        recorder = Recorder()
        batcher = MicroBatcher(recorder)
        asked = [asyncio.create_task(batcher.ask(n)) for n in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        later = [asyncio.create_task(batcher.ask(n)) for n in range(3, 8)]
        await asyncio.sleep(0)
        recorder.gate.set()
        assert await asyncio.gather(*asked, *later) == [2 * n for n in range(8)]
        assert recorder.batches == [[0, 1, 2], [3, 4, 5, 6, 7]]

    asyncio.run(scenario())


def test_calls_side_by_side_share_what_waits_evenly() -> None:
    async def scenario() -> None:
        recorder = Recorder()
        batcher = MicroBatcher(recorder, concurrency=2)
        asked = [asyncio.create_task(batcher.ask(n)) for n in range(20, 60)]
        for _ in range(3):
            await asyncio.sleep(0)
        assert [len(batch) for batch in recorder.batches] == [20, 20]
        recorder.gate.set()
        assert await asyncio.gather(*asked) == [2 * n for n in range(20, 60)]
        recorder.batches.clear()
        await asyncio.gather(*(batcher.ask(n) for n in range(6)))
        assert [len(batch) for batch in recorder.batches] == [6], "so few are not worth two calls"

    asyncio.run(scenario())


def test_max_batch_bounds_a_call() -> None:
    async def scenario() -> None:
        recorder = Recorder()
        recorder.gate.set()
        batcher = MicroBatcher(recorder, max_batch=4)
        await asyncio.gather(*(batcher.ask(n) for n in range(10)))
        assert [len(batch) for batch in recorder.batches] == [4, 4, 2]

    asyncio.run(scenario())


def test_an_answer_that_is_an_error_reaches_only_its_own_caller() -> None:
    async def scenario() -> None:
        recorder = Recorder()
        recorder.gate.set()
        batcher = MicroBatcher(recorder)
        answers = await asyncio.gather(*(batcher.ask(n) for n in (1, 13, 2)), return_exceptions=True)
        assert answers[0] == 2
        assert isinstance(answers[1], ValueError)
        assert answers[2] == 4

    asyncio.run(scenario())


def test_a_call_that_fails_reaches_its_batch_and_the_next_batch_is_served() -> None:
    async def scenario() -> None:
        recorder = Recorder()
        recorder.gate.set()
        recorder.failures = [ConnectionError("gone")]
        batcher = MicroBatcher(recorder)
        answers = await asyncio.gather(*(batcher.ask(n) for n in range(3)), return_exceptions=True)
        assert [str(answer) for answer in answers] == ["gone"] * 3
        assert await batcher.ask(5) == 10

    asyncio.run(scenario())


def test_callers_that_hang_up_leave_the_batcher_serving() -> None:
    """Regression: the flushing task ran in the context of the request that started it and died with that request."""

    async def scenario() -> None:
        recorder = Recorder()
        batcher = MicroBatcher(recorder)
        for _ in range(1000):
            tasks = [asyncio.create_task(batcher.ask(n)) for n in range(3)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        recorder.gate.set()
        assert await asyncio.wait_for(batcher.ask(21), 2) == 42
        assert sum(len(batch) for batch in recorder.batches) < 10, "questions of clients that hung up were asked"

    asyncio.run(scenario())


def test_while_calls_hang_nothing_is_kept_of_those_who_gave_up() -> None:
    """Regression: 500 of 500 questions whose clients had given up were kept, and counted in the share of a call."""

    async def scenario() -> None:
        recorder = Recorder()
        batcher = MicroBatcher(recorder, concurrency=2)
        hanging = [asyncio.create_task(batcher.ask(n)) for n in range(20, 40)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        given_up = [asyncio.create_task(batcher.ask(n)) for n in range(500)]
        await asyncio.sleep(0)
        assert batcher.waiting == 500
        for task in given_up:
            task.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
        assert batcher.waiting == 0
        recorder.gate.set()
        assert await asyncio.gather(*hanging) == [2 * n for n in range(20, 40)]

    asyncio.run(scenario())


def test_a_cancelled_call_is_an_error_and_not_the_end() -> None:
    async def scenario() -> None:
        calls = 0

        async def cancelled_once(numbers: list[int]) -> list[int]:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise asyncio.CancelledError
            return numbers

        batcher = MicroBatcher(cancelled_once)
        with pytest.raises(ConnectionError, match="cancelled"):
            await batcher.ask(1)
        assert await batcher.ask(2) == 2

    asyncio.run(scenario())


def test_a_question_asked_while_the_last_call_returns_is_not_forgotten() -> None:
    """Regression: between the end of the flushing task and its done callback, a question started no new task."""

    async def scenario() -> None:
        async def at_once(numbers: list[int]) -> list[int]:
            return numbers

        batcher = MicroBatcher(at_once)

        async def chain() -> None:
            for n in range(200):
                assert await asyncio.wait_for(batcher.ask(n), 2) == n

        await asyncio.gather(*(chain() for _ in range(5)))

    asyncio.run(scenario())
