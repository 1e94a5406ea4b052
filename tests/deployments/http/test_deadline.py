import asyncio

import pytest

from deployments.http.deadline import Deadlines


def test_work_in_time_is_done_and_work_past_it_is_cancelled() -> None:
    ended: list[str] = []

    async def work(name: str, turns: int | None = None) -> str:
        """Takes some turns of the loop, or never ends."""
        try:
            if turns is None:
                await asyncio.Event().wait()
            for _ in range(turns or 0):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            ended.append(name)
            raise
        return name

    async def all_at_once() -> list[object]:
        deadlines = Deadlines(0.3)
        asked = [deadlines.run(work(f"quick{n}", 5)) for n in range(5)] + [deadlines.run(work("slow"))]
        found: list[object] = list(await asyncio.gather(*asked, return_exceptions=True))
        found.append(await deadlines.run(work("later", 5)))  # the timer starts again
        with pytest.raises(TimeoutError):
            await deadlines.run(work("slow again"))
        return found

    found = asyncio.run(all_at_once())
    assert found[:5] == [f"quick{n}" for n in range(5)]
    assert isinstance(found[5], TimeoutError)
    assert found[6] == "later"
    assert ended == ["slow", "slow again"]


def test_a_cancellation_by_somebody_else_stays_one() -> None:
    async def work() -> None:
        begun = asyncio.Event()

        async def endless() -> None:
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(Deadlines(60).run(endless()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())


def test_an_error_of_the_work_is_passed_on() -> None:
    async def broken() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(Deadlines(1).run(broken()))
