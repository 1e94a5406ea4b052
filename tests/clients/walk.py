"""A walk through the Python client, with nothing but it and the standard library, so that any Python can go it.

python tests/clients/walk.py http://127.0.0.1:8000
"""

import asyncio
import sys
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TypeVar

from raycommend_client import (
    AsyncClient,
    AsyncEventQueue,
    Client,
    Event,
    EventQueue,
    EventsNotDelivered,
    Filters,
    InvalidRequest,
    NotFound,
    QueueOptions,
    Unreachable,
    calls,
)

E = TypeVar("E", bound=Exception)


def caught(kind: type[E], call: Callable[[], object]) -> E:
    """The error that a call must raise."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def in_threads(url: str, user: str) -> None:
    with Client(url) as client:
        first = client.recommend(user, top_k=3, filters=Filters(exclude_items=["none"]))
        best = first.recommendations[0].item_id
        said = [client.record_event(user, best, "like", event_id="walk") for _ in range(2)]
        assert [answer.duplicate for answer in said] == [False, True]
        assert best not in {shown.item_id for shown in client.recommend(user, top_k=3).recommendations}
        now = datetime.now(timezone.utc)  # noqa: UP017 - Python 3.10 has no shorter name for it
        event = Event.of(user, best, "view", timestamp=now)
        assert client.record_events([event]).accepted == 1
        for call, error, field in (
            (lambda: client.recommend(user, top_k=0), InvalidRequest, "top_k"),
            (lambda: client.record_event(user, best, "rating", rating=9.0), InvalidRequest, "rating"),
            (lambda: client.item("no such item"), NotFound, "item_id"),
        ):
            assert caught(error, call).field == field
        with EventQueue(client, QueueOptions(batch_events=7)) as queue:
            for item in range(1, 31):
                queue.put(user, item, "click")
        assert client.user(user).events == {"like": 1, "view": 1, "click": 30}
    away = Client("http://127.0.0.1:9")
    left = EventQueue(away, QueueOptions(flush_every_s=3600))
    left.put(user, 1, "click")
    told = caught(EventsNotDelivered, lambda: left.close(0.3))
    assert len(told.waiting) == 1
    assert isinstance(told.__cause__, Unreachable)


async def on_asyncio(url: str, user: str) -> None:
    async with AsyncClient(url) as client:
        async with AsyncEventQueue(client, QueueOptions(batch_events=7, max_events=10, full_wait_s=30)) as queue:
            for item in range(1, 31):
                await queue.put(user, item, "click")
        found, shown = await asyncio.gather(client.user(user), client.send(calls.recommend(user)))
        assert found.events == {"click": 30}
        assert shown.recommendations


if __name__ == "__main__":
    name = f"walk-{uuid.uuid4().hex[:8]}"
    in_threads(sys.argv[1], name)
    asyncio.run(on_asyncio(sys.argv[1], f"{name}-a"))
    print(f"all is well on Python {sys.version.split()[0]}")
