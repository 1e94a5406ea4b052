"""A call to one of several alike replicas that outlives a replica which hangs: the next one is asked beside it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def first_answer(call: Callable[[], Awaitable[T]], again_s: float, deadline_s: float) -> T:
    """The first answer of `call`, which is made again whenever `again_s` have passed without one.

    Earlier calls stay under way, so that a slow answer is not thrown away for a slower one. A replica that hangs keeps
    the calls that it has got, by which Serve's router knows it for busy and turns to the others.

    Args:
        call: asks a replica that the router chooses. Its error is the answer.
        again_s: how long an answer may take before another replica is asked as well.
        deadline_s: when nobody waits for the answer any more.

    Raises:
        TimeoutError: no answer within `deadline_s`; whatever is under way then is given up.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + deadline_s
    under_way: set[asyncio.Task[T]] = set()
    try:
        while (left_s := ends - loop.time()) > 0:
            under_way.add(asyncio.ensure_future(_run(call)))
            done, under_way = await asyncio.wait(
                under_way, timeout=min(again_s, left_s), return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                under_way |= done
                well = [task for task in done if task.exception() is None]
                return (well or [*done])[0].result()
    finally:
        for task in under_way:
            task.cancel()
    raise TimeoutError(f"no answer within {deadline_s:g} s")


async def _run(call: Callable[[], Awaitable[T]]) -> T:
    return await call()
