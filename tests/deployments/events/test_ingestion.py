"""What becomes of events that are odd, and how long an event waits for a store that is slow or does not answer."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from configs.event_types import load_event_types
from configs.settings import Serving, Settings, Store
from data.fields.times import FORMS
from deployments.events.ingestion import Ingestion
from deployments.http.deadline import Deadlines
from deployments.http.errors import ApiError, store_error
from features.recording.event_request import EventRequest
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.errors import EventConflict, StoreUnavailable
from features.redis.keys import Keys
from tests.features.servers import Server

pytestmark = pytest.mark.anyio
CLICK = EventRequest(user_id="u", item_id="i", event_type="click")


@pytest.fixture
async def ingestion(server: Server, store_settings: Store, tmp_path: Path) -> AsyncIterator[Ingestion]:
    found = Ingestion(
        Settings(
            store=store_settings.model_copy(update={"timeout_s": 0.1}),
            serving=Serving(deadline_s=1.5),
            state_dir=tmp_path,
        )
    )
    await found.start()
    await found.record(CLICK, "e0")
    yield found
    await found.stop()


async def test_an_event_waits_for_a_slow_store_longer_than_a_list_does(server: Server, ingestion: Ingestion) -> None:
    server.pause()
    try:
        answer = asyncio.create_task(ingestion.record(CLICK, "e1"))
        waited, _ = await asyncio.wait([answer], timeout=0.6)
        assert not waited
    finally:
        server.resume()
    assert orjson.loads(await answer)["status"] == "accepted"


async def test_a_store_that_does_not_answer_is_told_before_the_deadline(server: Server, ingestion: Ingestion) -> None:
    started = time.monotonic()
    server.pause()
    try:
        with pytest.raises((StoreUnavailable, ApiError)):
            await ingestion.record(CLICK, "e1")
    finally:
        server.resume()
    assert time.monotonic() - started < 2.0
    deadline = time.monotonic() + 10
    while True:  # the connection is made anew
        try:
            answer = await ingestion.record(CLICK, "e1")
            break
        except (StoreUnavailable, ApiError):
            assert time.monotonic() < deadline
    assert orjson.loads(answer)["event_id"] == "e1"


async def until_counted(ingestion: Ingestion, clicks: int) -> None:
    async with asyncio.timeout(10):
        while ingestion.metrics.counts["events:click"] < clicks:  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.01)


async def test_an_event_that_is_recorded_after_its_deadline_is_counted(server: Server, ingestion: Ingestion) -> None:
    # The store had it, the retry was a duplicate, and no total ever knew of it.
    await batch(ingestion, b'{"events": [{"user_id": 1, "item_id": 2, "event_type": "click", "event_id": "b0"}]}')
    ingestion._deadlines = Deadlines(0.2)
    two = b'{"events": [{"user_id": 1, "item_id": 2, "event_type": "click", "event_id": "b%d"}]}'
    server.pause()
    try:
        late = [
            asyncio.create_task(one)
            for one in (ingestion.record(CLICK, "e1"), batch(ingestion, two % 1), batch(ingestion, two % 2))
        ]
        errors = await asyncio.gather(*late, return_exceptions=True)
    finally:
        server.resume()
    assert [isinstance(error, ApiError) and error.status for error in errors] == [504] * 3
    # The second batch had waited for its turn, and was not sent.
    await until_counted(ingestion, 4)
    ingestion._deadlines = Deadlines(10)
    assert orjson.loads(await ingestion.record(CLICK, "e1"))["duplicate"]
    [first] = await batch(ingestion, two % 1)
    [second] = await batch(ingestion, two % 2)
    assert (first["duplicate"], second["duplicate"]) == (True, False)
    assert (ingestion.metrics.counts["events:click"], ingestion.metrics.counts["events_duplicate"]) == (5, 2)


async def batch(ingestion: Ingestion, body: bytes) -> list[dict[str, Any]]:
    answer = orjson.loads(await ingestion.record_batch(body, "request-1"))
    results: list[dict[str, Any]] = answer["results"]
    assert answer["accepted"] == sum(result["status"] == "accepted" for result in results)
    return results


async def test_an_event_id_of_another_event_is_a_conflict(
    ingestion: Ingestion, client: StoreClient, keys: Keys
) -> None:
    """An order number as the id of each of its lines: the others were answered as accepted, and were not there."""
    lines = [{"user_id": "u", "item_id": item, "event_type": "purchase", "event_id": "order-78"} for item in "abc"]
    results = await batch(ingestion, orjson.dumps({"events": [*lines, lines[0]]}))
    assert [result["status"] for result in results] == ["accepted", "refused", "refused", "accepted"]
    assert [result.get("duplicate") for result in results] == [False, None, None, True]
    assert results[1]["error"]["code"] == "event_id_conflict"
    assert results[1]["error"]["field"] == "event_id"
    with pytest.raises(EventConflict, match="'order-78' names another event") as conflict:
        await ingestion.record(EventRequest.model_validate(lines[2]), "order-78")
    assert store_error(conflict.value).status == 409
    store = OnlineStore(client, keys, ingestion.settings.store, load_event_types())
    [user] = await store.read_users(["u"])
    assert user.counters(store.event_types) == {"click": 1, "purchase": 1}


@pytest.mark.parametrize("digits", [4301, 50_000])
async def test_a_number_that_nobody_reads_costs_its_own_place_in_a_batch(ingestion: Ingestion, digits: int) -> None:
    known = b'"user_id": "u", "item_id": "1", "event_type": "click"'
    kept = b'{%s, "context": {"note": "%s"}}' % (known, b"7" * digits)
    body = b'{"events": [{%s}, {%s, "timestamp": %s}, %s]}' % (known, known, b"9" * digits, kept)
    answer = orjson.loads(await ingestion.record_batch(body, "r"))
    assert [one["status"] for one in answer["results"]][:2] == ["accepted", "refused"]
    assert answer["results"][1]["error"]["field"] == "timestamp"
    assert answer["results"][2].get("error", {}).get("field") != "timestamp"


async def test_a_bad_event_costs_its_own_place_in_a_batch(ingestion: Ingestion) -> None:
    """Half an emoji made the whole batch invalid JSON; a whole number beyond 64 bits was an error of the server."""
    event = b'{"user_id": "u", "item_id": "i", "event_type": "rating", "rating": 4%s}'
    fields = [
        b"",
        rb', "context": {"query": "party \ud83c"}',
        b', "context": {"n": %s}' % (b"9" * 400),
        b', "context": {"n": 100000000000000000000}',
        b', "timestamp": %s' % (b"9" * 400),
        b', "timestamp": 20240131',
        b', "timestamp": "20240131"',
        b', "timestamp": 1000',
    ]
    results = await batch(ingestion, b'{"events": [%s]}' % b", ".join(event % field for field in fields))
    refused = [result.get("error", {}).get("field") for result in results]
    assert refused == [None, "context", "context", "context", "timestamp", None, None, "timestamp"]
    for body in (
        b'{"events": [%s]}' % event.replace(b"4%s", b"9" * 400),
        b'{"events": [%s]}' % event.replace(b"4%s", b"1%s" % (b"0" * 20)),
    ):
        [result] = await batch(ingestion, body)
        assert result["error"]["field"] == "rating"


async def test_an_entry_that_is_too_deep_or_names_a_key_twice_costs_its_own_place(ingestion: Ingestion) -> None:
    """Regression: one entry of 20,000 brackets refused the whole batch; of two values of a key the first was lost."""
    event = b'{"user_id": "u", "item_id": "i", "event_type": "view", "timestamp": "2026-01-31T12:00:00Z"%s}'
    fields = [
        b"",
        b', "context": {"a": %s%s}' % (b"[" * 20_000, b"]" * 20_000),
        b', "context": {"a": %s1%s}' % (b'{"b":' * 20_000, b"}" * 20_000),
        b', "context": {"device": "tv"}',
    ]
    body = b'{"events": [%s]}' % b", ".join(event % field for field in fields)
    found = [result.get("error", {}).get("field") for result in await batch(ingestion, body)]
    assert found == [None, "context", "context", None]
    fields[1:3] = [b', "item_id": "j"', b', "context": {"a": 1, "a": 2}']
    results = await batch(ingestion, b'{"events": [%s]}' % b", ".join(event % field for field in fields))
    assert [result.get("error", {}).get("field") for result in results] == [None, "item_id", "context.a", None]
    assert results[1]["error"]["message"] == "the key 'item_id' stands twice in one object; give it once"
    with pytest.raises(ApiError, match="the key 'events' stands twice"):
        await ingestion.record_batch(b'{"events": [1], "events": [%s]}' % (event % b""), "request-1")


async def test_times_are_refused_in_one_set_of_words(ingestion: Ingestion) -> None:
    rows = [{"user_id": "u", "item_id": "i", "event_type": "view", "timestamp": at} for at in ("soon", True, [], 1000)]
    results = await batch(ingestion, orjson.dumps({"events": rows}))
    assert all(FORMS in result["error"]["message"] for result in results)
    assert "20260131" in FORMS


async def test_a_body_that_is_no_json_is_refused(ingestion: Ingestion) -> None:
    for body in (b"{", b"\xff", b'{"events": ' + b"[" * 20_000):
        with pytest.raises(ApiError, match="not valid JSON"):
            await ingestion.record_batch(body, "request-1")
