"""What only a body tells of a request: the user for whom it asks, and how many events it counts as."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from configs.settings import Serving, Settings, Store
from deployments.access import limits
from deployments.access.access_gate import AccessGate
from deployments.access.caller import Caller
from deployments.access.keyless import Keyless
from deployments.access.known_keys import KnownKeys
from deployments.access.limits import Limit, counter
from deployments.events.endpoints import events_endpoints
from deployments.events.ingestion import Ingestion
from deployments.http.asgi_app import EndpointApp
from deployments.http.errors import ApiError
from deployments.recommend.endpoints import recommend_endpoints
from deployments.recommend.ranking import Ranking
from features.redis.connection import StoreClient
from features.redis.keys import Keys

pytestmark = pytest.mark.anyio
Ask = Callable[[Caller, str, Any], Any]


class _OneCaller(KnownKeys):
    """Takes every key for one caller."""

    def __init__(self, settings: Settings, caller: Caller) -> None:
        super().__init__(settings.security, counter_of_nobody)
        self.asks, self._found = True, caller

    def find(self, text: bytes, sha256: str) -> Caller:
        return self._found


async def counter_of_nobody(name: str, number: int) -> int:
    raise AssertionError(name)


def _no_ranking() -> Ranking:
    return Ranking.__new__(Ranking)


@pytest.fixture
async def ask(store_settings: Store, tmp_path: Path) -> AsyncIterator[Ask]:
    settings = Settings(store=store_settings, state_dir=tmp_path, serving=Serving(deadline_s=60))
    ingestion = Ingestion(settings)
    await ingestion.start()
    endpoints = [
        *events_endpoints(lambda: ingestion, settings.serving),
        *recommend_endpoints(_no_ranking, settings.serving),
    ]
    hot = EndpointApp(endpoints, 10)

    async def post(caller: Caller, path: str, body: Any) -> httpx.Response:
        gate = AccessGate(hot, _OneCaller(settings, caller), Keyless())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://localhost") as http:
            return await http.post(path, json=body, headers={"authorization": "Bearer any"})

    yield post
    await ingestion.stop()


def of_user(user_id: str | None, limit: Limit | None = None) -> Caller:
    return Caller("token shop", "shop", ("events", "recommend"), frozenset(("events", "recommend")), limit, user_id)


def event(user_id: int | str = 196, item_id: str = "i") -> dict[str, Any]:
    return {"user_id": user_id, "item_id": item_id, "event_type": "click"}


async def test_a_token_of_a_user_asks_for_itself_alone(ask: Ask) -> None:
    own = of_user("196")
    for user_id, status in ((196, 200), ("196", 200), (197, 403), ("0196", 403)):
        answer = await ask(own, "/api/v1/events", event(user_id))
        assert answer.status_code == status, user_id
    assert (answer.json()["error"]["code"], answer.json()["error"]["field"]) == ("another_user", "user_id")
    other = await ask(own, "/api/v1/recommend", {"user_id": 197})
    assert (other.status_code, other.json()["error"]["code"]) == (403, "another_user")


async def test_a_batch_is_looked_at_event_by_event(ask: Ask) -> None:
    rows = [event(196, "a"), event(197, "b"), event("196", "c")]
    answer = await ask(of_user("196"), "/api/v1/events/batch", {"events": rows})
    results = answer.json()["results"]
    assert [result["status"] for result in results] == ["accepted", "refused", "accepted"]
    assert results[1]["error"]["code"] == "another_user"
    free = await ask(of_user(None), "/api/v1/events/batch", {"events": rows})
    assert free.json()["accepted"] == 3


async def test_a_batch_counts_as_many_as_it_has_events(
    ask: Ask, client: StoreClient, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: one batch of 1,000 events counted as one request."""

    async def recorded() -> int:
        return sum([await client.run("XLEN", keys.events(one)) for one in range(keys.partitions)])

    def rows(number: int) -> dict[str, Any]:
        return {"events": [event(item_id=uuid.uuid4().hex) for _ in range(number)]}

    monkeypatch.setattr(limits, "WINDOW_S", 10**10)  # so that no minute begins in between
    made: dict[str, int] = {}

    async def count(name: str, number: int) -> int:
        made[name] = made.get(name, 0) + number
        return made[name]

    caller = of_user(None, Limit("shop", "the key shop", 1000, count))
    assert (await ask(caller, "/api/v1/events/batch", rows(600))).status_code == 200
    assert made == {"shop": 600}
    # The gate takes a hundredth of the limit, of which the batch that is refused leaves all.
    refused = await ask(caller, "/api/v1/events/batch", rows(500))
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) > 0
    # Nothing of it was recorded, and it took nothing from the rest of the minute.
    assert (await recorded(), made) == (600, {"shop": 610})
    assert (await ask(caller, "/api/v1/events/batch", rows(400))).status_code == 200
    assert (await ask(caller, "/api/v1/events", event())).status_code == 429
    small = of_user(None, Limit("small", "the key small", 10, count))
    too_large = await ask(small, "/api/v1/events/batch", rows(11))
    assert (too_large.status_code, too_large.json()["error"]["field"]) == (422, "events")
    assert await recorded() == 1000


async def test_a_limit_is_dealt_to_replicas_in_hundredths(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than the limit passes, whoever asks, and a busy key asks the store once for many requests."""
    monkeypatch.setattr(limits, "WINDOW_S", 10**10)  # so that no minute begins in between
    calls: list[int] = []
    made = 0

    async def count(name: str, number: int) -> int:
        nonlocal made
        calls.append(number)
        made += number
        return made

    replicas = [Limit("busy", "the key busy", 1000, count) for _ in range(2)]
    passed = 0
    for number in range(2000):
        with contextlib.suppress(ApiError):
            await replicas[number % 2].take()
            passed += 1
    assert passed == 1000
    assert len(calls) == 102  # a hundred times ten, and once each to learn that there is no more


async def test_the_store_counts_for_all_replicas(
    client: StoreClient, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = counter(client, keys, 10)
    name = uuid.uuid4().hex
    monkeypatch.setattr(limits, "WINDOW_S", 10**10)
    assert [await count(name, number) for number in (1, 999, -400)] == [1, 1000, 600]
