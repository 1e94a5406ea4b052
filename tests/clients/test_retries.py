"""When the Python client sends again, how long it waits, and that an event counts once all the same."""

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from raycommend_client import (
    ApiError,
    Client,
    Event,
    InvalidRequest,
    RateLimited,
    Retry,
    ServerError,
    Unavailable,
    Unreachable,
)
from raycommend_client.errors import error_of

from tests.clients.conftest import QUICK
from tests.clients.faulty import Api

BUSY = {"status": 503, "code": "overloaded"}
LOST = {"lose": True}


@pytest.mark.parametrize("faults", [[LOST], [LOST, LOST, BUSY], [{"status": 504}, LOST], [{"status": 500}, LOST]])
def test_an_event_whose_answer_was_lost_counts_once(client: Client, api: Api, faults: list[dict[str, object]]) -> None:
    user = f"lost-{'-'.join(str(fault.get('status', 0)) for fault in faults)}"
    api.faults.reset(*faults)
    said = client.record_event(user, 1, "click")
    requests = list(api.faults.seen)
    assert len(requests) == len(faults) + 1
    assert {request.body["event_id"] for request in requests} == {said.event_id}
    assert len({request.headers["x-request-id"] for request in requests}) == 1
    assert said.duplicate
    assert client.user(user).events == {"click": 1}


def test_events_of_a_batch_without_ids_count_once_each(client: Client, api: Api) -> None:
    api.faults.reset(LOST)
    answer = client.record_events([Event.of("batch", item, "click") for item in (1, 2, 2)])
    assert answer.accepted == 3
    first, second = ([event["event_id"] for event in request.body["events"]] for request in api.faults.seen)
    assert first == second
    assert len(set(first)) == 3
    assert client.user("batch").events == {"click": 3}


@pytest.mark.parametrize("status", [429, 503])
def test_the_wait_that_the_server_asks_for_is_kept(client: Client, api: Api, status: int) -> None:
    api.faults.reset({"status": status, "retry_after": "1"})
    assert client.recommend("waits").recommendations
    first, second = api.faults.seen
    assert second.at_s - first.at_s >= 1.0


def test_a_wait_that_is_longer_than_there_is_time_for_is_the_callers(client: Client, api: Api) -> None:
    api.faults.reset({"status": 429, "retry_after": "40", "code": "rate_limited"})
    with pytest.raises(RateLimited) as caught:
        client.recommend("waits")
    assert (caught.value.retry_after_s, caught.value.attempts, len(api.faults.seen)) == (40.0, 1, 1)
    assert "again after 40 s" in str(caught.value)


def test_attempts_end_and_the_error_counts_them(client: Client, api: Api) -> None:
    api.faults.reset(*[BUSY] * 9)
    with pytest.raises(Unavailable) as caught:
        client.recommend("busy")
    assert (caught.value.attempts, len(api.faults.seen)) == (4, 4)
    waits = [later.at_s - sooner.at_s for sooner, later in pairwise(api.faults.seen)]
    assert min(waits) >= QUICK.first_wait_s / 2
    api.faults.reset({"status": 500}, {"status": 500})
    with pytest.raises(ServerError):
        client.with_options(retry=Retry(attempts=1)).recommend("once")
    assert len(api.faults.seen) == 1


def test_what_must_not_be_done_twice_is_sent_again_only_where_it_was_not_done(client: Client, api: Api) -> None:
    api.faults.reset(LOST)
    with pytest.raises(Unreachable) as caught:
        client.request("POST", "/api/v1/models/rollback", json={})
    assert (caught.value.never_sent, len(api.faults.seen)) == (False, 1)
    api.faults.reset({"status": 429, "retry_after": "0"}, LOST)
    with pytest.raises(Unreachable):
        client.request("POST", "/api/v1/models/rollback", json={})
    assert len(api.faults.seen) == 2


def test_a_server_that_is_not_there_or_says_nothing_is_unreachable(client: Client, api: Api) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with Client(f"http://127.0.0.1:{nobody.getsockname()[1]}", retry=QUICK) as lonely:
            with pytest.raises(Unreachable, match="ConnectError") as refused:
                lonely.recommend(1)
            assert (refused.value.never_sent, refused.value.attempts) == (True, 4)
    api.faults.reset({"wait_s": 1}, {"wait_s": 1})
    impatient = client.with_options(timeout_s=0.05, retry=Retry(attempts=2, first_wait_s=0.01))
    with pytest.raises(Unreachable, match="ReadTimeout") as late:
        impatient.recommend("late")
    assert (late.value.never_sent, late.value.attempts) == (False, 2)


def test_what_the_header_of_a_wait_may_hold() -> None:
    def told(value: str) -> float | None:
        return error_of(503, {"retry-after": value}, b"", "r").retry_after_s

    assert (told("2"), told("0.5"), told("-3"), told("soon")) == (2.0, 0.5, 0.0, None)
    date = told(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    assert date is not None
    assert 50 < date <= 60


def test_a_page_of_a_proxy_is_an_error_as_well() -> None:
    error = error_of(503, {}, b"<html>No server is available</html>", "r1")
    assert (type(error), error.code, error.request_id) == (Unavailable, "http_error", "r1")
    assert "No server is available" in error.message
    assert type(error_of(418, {}, b"", "r")) is ApiError
    assert type(error_of(413, {}, b"", "r")) is InvalidRequest


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"total_s": 0}, {"first_wait_s": -1}, {"longest_wait_s": 0}])
def test_a_wrong_retry_is_named(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"^retry\.{next(iter(wrong))}: should be"):
        Retry(**wrong)
