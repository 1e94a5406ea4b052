"""The Python client's queues: nothing is lost without a word, and nothing counts twice."""

import asyncio
import random
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from raycommend_client import (
    AsyncClient,
    AsyncEventQueue,
    Client,
    Event,
    EventQueue,
    EventsNotDelivered,
    InvalidRequest,
    QueueFull,
    QueueOptions,
    RefusedEvent,
    Retry,
    Unreachable,
)

from tests.clients.conftest import QUICK
from tests.clients.faulty import Api, batch_answer
from tests.waiting import wait_for

SLOW = 3600.0
"""A queue that sends only when it is told to."""
BUSY = {"status": 503, "code": "overloaded"}


class Either:
    """One of the two queues, for tests that hold for both: what is awaited is awaited."""

    def __init__(self, asynchronous: bool, url: str) -> None:
        self._asynchronous, self._url = asynchronous, url

    def run(self, steps: Callable[[Any], Awaitable[None]], **options: Any) -> None:
        """Run `steps` with a queue whose `put`, `flush` and `close` are awaited."""
        asyncio.run(self._run(steps, QueueOptions(**{"flush_every_s": SLOW, **options})))

    async def _run(self, steps: Callable[[Any], Awaitable[None]], options: QueueOptions) -> None:
        if self._asynchronous:
            async with AsyncClient(self._url, retry=QUICK) as client:
                queue = AsyncEventQueue(client, options)
                queue.close = queue.aclose  # type: ignore[attr-defined]
                await steps(queue)
                await queue.aclose()
        else:
            with Client(self._url, retry=QUICK) as client:
                blocking = EventQueue(client, options)
                await steps(InThread(blocking))
                blocking.close()


class InThread:
    """A queue whose methods wait in another thread, so that they can be awaited."""

    def __init__(self, queue: EventQueue) -> None:
        self._queue = queue

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return lambda *given, **named: asyncio.to_thread(getattr(self._queue, name), *given, **named)

    def __len__(self) -> int:
        return len(self._queue)


@pytest.fixture(params=[False, True], ids=["threads", "asyncio"])
def either(request: pytest.FixtureRequest, api: Api) -> Either:
    return Either(request.param, api.url)


def counted(api: Api, user: str) -> dict[str, int]:
    """Events of a user that the server has counted, after all faults."""
    api.faults.coming.clear()
    with Client(api.url) as client:
        return client.user(user).events


def batches(api: Api) -> list[list[dict[str, Any]]]:
    return [request.body["events"] for request in api.faults.seen if request.path.endswith("/batch")]


def test_events_go_in_batches_in_their_order_with_their_time(either: Either, api: Api, user: str) -> None:
    async def steps(queue: Any) -> None:
        ids = [await queue.put(user, item, "click") for item in range(1, 8)]
        await queue.flush()
        assert len(queue) == 0
        assert [[event["item_id"] for event in batch] for batch in batches(api)] == [[1, 2, 3], [4, 5, 6], [7]]
        assert [event["event_id"] for batch in batches(api) for event in batch] == ids
        assert all(event["timestamp"] > 1_700_000_000 for batch in batches(api) for event in batch)

    # The pause between sendings is too long to matter, and a full batch goes without it.
    either.run(steps, batch_events=3)
    assert counted(api, user) == {"click": 7}


def test_events_are_sent_without_being_told(either: Either, api: Api, user: str) -> None:
    async def steps(queue: Any) -> None:
        await queue.put(user, 1, "click")
        await asyncio.to_thread(wait_for, lambda: len(batches(api)) == 1, 10)

    either.run(steps, flush_every_s=0.05)
    assert counted(api, user) == {"click": 1}


@pytest.mark.parametrize("seed", range(3))
def test_whatever_goes_wrong_each_event_counts_once(either: Either, api: Api, seed: int, user: str) -> None:
    chance = random.Random(seed)
    kinds: list[dict[str, Any]] = [{}, {"lose": True}, BUSY, {"status": 500}, {"status": 429, "retry_after": "0"}]
    api.faults.reset(*chance.choices(kinds, k=20))

    async def steps(queue: Any) -> None:
        for number in range(40):
            await queue.put(user, number + 1, "click")
        await queue.flush()
        assert len(queue) == 0

    either.run(steps, batch_events=5, flush_every_s=0.01)
    assert counted(api, user) == {"click": 40}


def test_what_the_server_refuses_is_named_and_the_rest_is_taken(either: Either, api: Api, user: str) -> None:
    async def steps(queue: Any) -> None:
        for kind in ("click", "clack", "click"):
            await queue.put(user, 1, kind, event_id=f"r-{kind}-{len(queue)}")
        with pytest.raises(EventsNotDelivered, match="1 events were refused, the first: 422 invalid_field") as caught:
            await queue.flush()
        [refused] = caught.value.refused
        assert (refused.event.event_id, refused.error.field, caught.value.waiting) == ("r-clack-1", "event_type", [])
        await queue.flush()  # it is said once

    either.run(steps)
    assert counted(api, user) == {"click": 2}


def test_refused_events_go_to_whoever_asked_for_them(either: Either, api: Api, user: str) -> None:
    told: list[RefusedEvent] = []

    def tell(refused: RefusedEvent) -> None:
        told.append(refused)
        raise RuntimeError("a fault of the caller's own")

    async def steps(queue: Any) -> None:
        await queue.put(user, 1, "clack")
        await queue.put(user, 1, "clock")
        await queue.put(user, 1, "click")
        await queue.flush()

    either.run(steps, on_refused=tell)
    assert [one.event.event_type for one in told] == ["clack", "clock"]
    assert counted(api, user) == {"click": 1}


def test_a_flush_that_fails_says_which_events_wait_and_they_are_sent_later(either: Either, api: Api, user: str) -> None:
    async def steps(queue: Any) -> None:
        ids = [await queue.put(user, item, "click") for item in (1, 2)]
        api.faults.reset({"status": 503, "retry_after": "30", "code": "storage_full"})
        with pytest.raises(EventsNotDelivered, match="2 events are not sent yet: 503 storage_full") as caught:
            await queue.flush(1)
        assert [event.event_id for event in caught.value.waiting] == ids
        assert (len(queue), len(api.faults.seen)) == (2, 1), "it does not come back before it was asked to"
        with pytest.raises(EventsNotDelivered) as left:
            await queue.close(1)
        assert [event.event_id for event in left.value.waiting] == ids
        assert len(queue) == 0
        with pytest.raises(RuntimeError, match="the queue is closed"):
            await queue.put(user, 3, "click")
        with Client(api.url) as client:  # the caller has them, and sends them under their ids
            assert client.record_events(left.value.waiting).accepted == 2

    either.run(steps)
    assert counted(api, user) == {"click": 2}


def test_a_full_queue_refuses_the_event_and_says_why_it_is_full(either: Either, api: Api, user: str) -> None:
    async def steps(queue: Any) -> None:
        for item in (1, 2):
            await queue.put(user, item, "click")
        with pytest.raises(QueueFull, match=r"holds 2 events, and event third has no room$") as caught:
            await queue.put(user, 3, "click", event_id="third")
        assert caught.value.event.item_id == 3
        api.faults.reset({"status": 503, "retry_after": "30"})
        with pytest.raises(EventsNotDelivered):
            await queue.flush(1)
        with pytest.raises(QueueFull, match="the last try to send failed: 503 overloaded"):
            await queue.put(user, 3, "click")

        with pytest.raises(EventsNotDelivered, match="2 events are not sent yet"):
            await queue.close(1)

    either.run(steps, max_events=2)


def test_a_full_queue_may_wait_for_room(either: Either, api: Api, user: str) -> None:
    async def steps(queue: Any) -> None:
        for item in range(1, 10):
            await queue.put(user, item, "click")

    api.faults.reset({"wait_s": 0.1}, {"wait_s": 0.1})
    either.run(steps, max_events=2, batch_events=2, full_wait_s=20, flush_every_s=0.01)
    assert counted(api, user) == {"click": 9}


@pytest.mark.parametrize("status", [413, 422])
def test_a_batch_that_is_too_large_is_halved(either: Either, api: Api, status: int, user: str) -> None:
    too_large = {"status": status, "code": "body_too_large"}

    async def steps(queue: Any) -> None:
        for item in range(1, 5):
            await queue.put(user, item, "click", event_id=f"e{item}")
        api.faults.reset(too_large, too_large, too_large)
        with pytest.raises(EventsNotDelivered) as caught:
            await queue.flush()
        [refused] = caught.value.refused
        assert (refused.event.event_id, refused.error.status) == ("e1", status)
        assert [len(batch) for batch in batches(api)] == [4, 2, 1, 3]

    either.run(steps)
    assert counted(api, user) == {"click": 3}


def test_a_queue_survives_a_token_that_cannot_be_had(api: Api, user: str) -> None:
    answers: Iterator[Any] = iter([OSError("the provider is away"), "good"])

    def token() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    with Client(api.url, token=token, retry=QUICK) as client, EventQueue(client) as queue:
        queue.put(user, 1, "click")
        queue.flush()
    assert counted(api, user) == {"click": 1}


def test_events_that_the_server_asks_to_send_again_keep_their_place(either: Either, api: Api, user: str) -> None:
    """A store that is away for some of its partitions refuses single events of a batch for now."""

    async def steps(queue: Any) -> None:
        # The fourth fills a batch, which may go before the fifth is there.
        api.faults.reset(batch_answer(None, "store_busy", "invalid_field", "store_unavailable"))
        for item in range(1, 6):
            await queue.put(user, item, "click")
        with pytest.raises(EventsNotDelivered) as caught:
            await queue.flush()
        assert [refused.event.item_id for refused in caught.value.refused] == [3]
        assert caught.value.waiting == []
        first, *later = batches(api)
        assert [event["item_id"] for event in first] == [1, 2, 3, 4]
        again = [event for batch in later for event in batch]
        assert [event["item_id"] for event in again] == [2, 4, 5]
        assert [event["event_id"] for event in again][:2] == [first[1]["event_id"], first[3]["event_id"]]

    either.run(steps, batch_events=4)
    assert counted(api, user) == {"click": 3}


def test_an_answer_for_another_number_of_events_settles_none(either: Either, api: Api, user: str) -> None:
    async def steps(queue: Any) -> None:
        await queue.put(user, 1, "click")
        api.faults.reset(batch_answer(None, None))
        await queue.flush()
        assert len(batches(api)) == 2

    either.run(steps)
    assert counted(api, user) == {"click": 1}


def test_threads_may_share_a_queue(api: Api, user: str) -> None:
    with Client(api.url, retry=QUICK) as client, EventQueue(client, QueueOptions(batch_events=7)) as queue:

        def put(thread: int) -> None:
            for number in range(25):
                queue.put(user, 1 + thread * 25 + number, "click")

        threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert counted(api, user) == {"click": 100}


def test_what_no_event_can_be_is_refused_when_it_is_put(either: Either, api: Api) -> None:
    async def steps(queue: Any) -> None:
        with pytest.raises(InvalidRequest, match="item_id: ") as caught:
            await queue.put("u", None, "click")
        assert caught.value.field == "item_id"
        with pytest.raises(InvalidRequest, match="rating: "):
            await queue.put_event(Event.of("u", 1, "rating", rating="much"))
        assert len(queue) == 0

    either.run(steps)
    assert api.faults.seen == []


@pytest.mark.parametrize(
    "wrong", [{"max_events": 0}, {"batch_events": 1001}, {"flush_every_s": 0}, {"full_wait_s": -1}]
)
def test_a_wrong_option_is_named(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"^{next(iter(wrong))}: should be"):
        QueueOptions(**wrong)  # type: ignore[arg-type]


def test_a_server_that_is_not_there_fills_the_queue_and_no_more() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        retry = Retry(first_wait_s=0.01, longest_wait_s=0.02)
        client = Client(f"http://127.0.0.1:{nobody.getsockname()[1]}", retry=retry)
        queue = EventQueue(client, QueueOptions(max_events=10, flush_every_s=0.01))
        for item in range(10):
            queue.put("u", item, "click")
        with pytest.raises(EventsNotDelivered):
            queue.flush(0.2)
        with pytest.raises(QueueFull) as caught:
            queue.put("u", 11, "click")
        assert isinstance(caught.value.__cause__, Unreachable)
        with pytest.raises(EventsNotDelivered):
            queue.close(0)
        client.close()
