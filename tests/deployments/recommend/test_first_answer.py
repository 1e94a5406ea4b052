import asyncio
import itertools

import pytest

from deployments.recommend.first_answer import first_answer

NEVER_S = 3600.0


class Replicas:
    """Answers with the number of the call, after the time that is given for it."""

    def __init__(self, *delays_s: float) -> None:
        self._delays_s = itertools.chain(delays_s, itertools.repeat(NEVER_S))
        self.asked = 0
        self.given_up = 0

    async def __call__(self) -> int:
        self.asked += 1
        number, delay_s = self.asked, next(self._delays_s)
        try:
            await asyncio.sleep(delay_s)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return number


def test_a_quick_replica_is_asked_alone() -> None:
    replicas = Replicas(0.0)
    assert asyncio.run(first_answer(replicas, 5.0, 10.0)) == 1
    assert replicas.asked == 1


def test_a_replica_that_hangs_costs_one_wait_and_not_the_answer() -> None:
    replicas = Replicas(NEVER_S, 0.0)
    assert asyncio.run(first_answer(replicas, 0.01, 10.0)) == 2
    assert (replicas.asked, replicas.given_up) == (2, 1)


def test_a_slow_answer_is_taken_although_another_was_asked_meanwhile() -> None:
    replicas = Replicas(0.05, NEVER_S)
    assert asyncio.run(first_answer(replicas, 0.03, 10.0)) == 1


def test_where_all_hang_the_call_ends_and_leaves_nothing_under_way() -> None:
    replicas = Replicas()

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            await first_answer(replicas, 0.02, 0.05)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())
    assert replicas.asked >= 2
    assert replicas.given_up == replicas.asked


def test_an_error_is_an_answer() -> None:
    async def fails() -> int:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        asyncio.run(first_answer(fails, 0.01, 10.0))
