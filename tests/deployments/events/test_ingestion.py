"""How long an event waits for a store that is slow, and what is said when it does not answer at all."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from configs.settings import Serving, Settings, Store
from deployments.events.ingestion import Ingestion
from deployments.http.errors import ApiError
from deployments.http.schemas import EventRequest
from features.redis.errors import StoreUnavailable
from tests.features.servers import Server

pytestmark = pytest.mark.anyio
CLICK = EventRequest(user_id="u", item_id="i", event_type="click", event_id="e1")


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
    await found.record(CLICK.model_copy(update={"event_id": "e0"}), "none")
    yield found
    await found.stop()


async def test_an_event_waits_for_a_slow_store_longer_than_a_list_does(server: Server, ingestion: Ingestion) -> None:
    server.pause()
    try:
        answer = asyncio.create_task(ingestion.record(CLICK, "none"))
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
            await ingestion.record(CLICK, "none")
    finally:
        server.resume()
    assert time.monotonic() - started < 2.0
    deadline = time.monotonic() + 10
    while True:  # the connection is made anew
        try:
            answer = await ingestion.record(CLICK, "none")
            break
        except (StoreUnavailable, ApiError):
            assert time.monotonic() < deadline
    assert orjson.loads(answer)["event_id"] == "e1"
