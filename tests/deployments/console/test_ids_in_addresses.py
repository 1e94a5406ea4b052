"""Users and items are read back by the ids under which they were written, and ids leave as the data set types them."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from configs.event_types import load_event_types
from configs.settings import Settings, Store
from deployments.console.console import Console
from deployments.console.routes import console_api
from deployments.operations.similar_items import Similar
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.slots import CHAMPION
from models.bundle.writing import write_bundle
from tests.models.bundle.test_bundle import contents, fields

pytestmark = pytest.mark.anyio
NOW_MS = 1_790_000_000_000
USERS = ("x/export", "x", "a/b", "/", "export", "a%2Fb", "196", "Zoë/\N{PARTY POPPER}?#", "9007199254740993")
ITEMS = ("a/similar", "a", "b/c/similar", "similar", "/similar", "a%2Fsimilar", "50")


def address(kind: str, text: str, rest: str = "") -> str:
    return f"/api/v1/{kind}/{quote(text, safe='')}{rest}"


@pytest.fixture
async def console(tmp_path: Path, store_settings: Store) -> AsyncIterator[Console]:
    settings = Settings(
        state_dir=tmp_path, store=store_settings.model_dump(), tracking={"uri": f"sqlite:///{tmp_path}/none.db"}
    )
    write_bundle(settings.bundles_dir, contents(), fields(user_id_type="int", item_id_type="int"), NOW_MS)

    async def similar(item_id: bytes, limit: int) -> Similar:
        return Similar("v1", "int", True, [(item_id, 1.0)])

    async def unused(*_: Any) -> Any:
        raise AssertionError("nothing here asks for this")

    found = Console(settings, similar, unused, unused)
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
def store(client: StoreClient, keys: Keys, store_settings: Store) -> OnlineStore:
    return OnlineStore(client, keys, store_settings, load_event_types())


@pytest.fixture
async def api(console: Console) -> AsyncIterator[httpx.AsyncClient]:
    app = console_api(lambda: console, console.settings.serving)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://console") as found:
        yield found


def read_event(number: int, user: str, item: str) -> Event:
    return Event(f"e{number}", user, item, "like", NOW_MS + number)


async def test_users_are_read_exported_and_erased_by_their_own_ids(store: OnlineStore, api: httpx.AsyncClient) -> None:
    """User x/export was the export of x, and could be seen by nobody."""
    await store.record_events([read_event(n, user, f"item-{n}") for n, user in enumerate(USERS)])
    for number, user in enumerate(USERS):
        found = (await api.get(address("users", user))).json()
        assert (found["user_id"], [entry["item_id"] for entry in found["history"]]) == (user, [f"item-{number}"])
        exported = (await api.get(address("users", user, "/export"))).json()
        assert (exported["user_id"], [row["item_id"] for row in exported["events"]]) == (user, [f"item-{number}"])
    erased = (await api.delete(address("users", "x/export"))).json()
    assert erased["user_id"] == "x/export"
    for user in USERS:
        expected = 404 if user == "x/export" else 200
        assert (await api.get(address("users", user))).status_code == expected


async def test_users_of_ids_that_are_not_taken_any_more_are_read_and_erased(
    store: OnlineStore, api: httpx.AsyncClient
) -> None:
    users = (" 7", "7 ", "an\N{ZERO WIDTH SPACE}n")
    await store.record_events([read_event(n, user, "i") for n, user in enumerate(users)])
    for user in users:
        assert (await api.get(address("users", user))).json()["user_id"] == user
        assert (await api.get(address("users", user, "/export"))).json()["user_id"] == user
        assert (await api.delete(address("users", user))).status_code == 200
        assert (await api.get(address("users", user))).status_code == 404
        put = await api.put(address("items", user), json={"title": "t"})
        assert (put.status_code, put.json()["error"]["field"]) == (422, "item_id")


async def test_an_address_without_encoding_means_what_it_did(store: OnlineStore, api: httpx.AsyncClient) -> None:
    await store.record_events([read_event(1, "a/b", "i"), read_event(2, "x", "i")])
    assert (await api.get("/api/v1/users/a/b")).json()["user_id"] == "a/b"
    assert (await api.get("/api/v1/users/x/export")).json()["user_id"] == "x"


@pytest.mark.parametrize("path", ["users/x/export", "items/x/similar", "items/a/b/similar", "items/x/daily"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "PATCH"])
async def test_what_is_read_at_an_address_of_its_own_is_not_written_there(
    store: OnlineStore, api: httpx.AsyncClient, path: str, method: str
) -> None:
    """Regression: GET /users/x/export is the export of x, and DELETE of the same address erased the user x/export."""
    kind, _, text = path.partition("/")
    await store.record_events([read_event(1, text, "i")])
    assert (await api.put(address("items", text), json={"title": "Before"})).status_code == 200
    refused = await api.request(method, f"/api/v1/{path}", json={"title": "After"} if method == "PUT" else None)
    assert (refused.status_code, refused.json()["error"]["code"]) == (405, "method_not_allowed")
    assert refused.headers["allow"] == "GET, HEAD"
    assert (await api.get(address("users", text))).json()["user_id"] == text
    assert (await api.get(address("items", text))).json()["title"] == "Before"
    # With its slash encoded the id is one, whatever it ends in.
    assert (await api.delete(address(kind, text))).status_code == 200
    assert (await api.get(address(kind, text))).status_code == 404


async def test_items_are_written_and_read_by_their_own_ids(api: httpx.AsyncClient) -> None:
    for item in ITEMS:
        put = await api.put(address("items", item), json={"title": f"Title of {item}"})
        assert (put.status_code, put.json()["item_id"]) == (200, item)
    for item in ITEMS:
        assert (await api.get(address("items", item))).json()["title"] == f"Title of {item}"
        similar = (await api.get(address("items", item, "/similar"))).json()
        assert str(similar["item_id"]) == item
    assert (await api.delete(address("items", "a/similar"))).status_code == 200
    gone = {item for item in ITEMS if (await api.get(address("items", item))).status_code == 404}
    assert gone == {"a/similar"}


async def test_ids_leave_as_the_data_set_types_them(store: OnlineStore, api: httpx.AsyncClient) -> None:
    """The export alone gave them all as text."""
    items = ("50", "1610521604143693813", "tt1")
    await store.record_events([read_event(n, "196", item) for n, item in enumerate(items)])
    await store.log_exposures([Exposure("r1", "196", NOW_MS, None, None, None, items)])
    [model] = (await api.get("/api/v1/models")).json()["models"]
    promoted = await api.post(f"/api/v1/models/{model['version']}/promote", json={"slot": CHAMPION, "reason": "a test"})
    assert promoted.status_code == 200
    typed = [50, "1610521604143693813", "tt1"]
    deadline = time.monotonic() + 30
    while (shown := (await api.get("/api/v1/users/196")).json())["user_id"] != 196:  # the champion is followed
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    exported = (await api.get("/api/v1/users/196/export")).json()
    assert exported["user_id"] == 196
    assert [entry["item_id"] for entry in shown["history"][::-1]] == typed
    assert [entry["item_id"] for entry in exported["history"]] == typed
    assert [(row["user_id"], row["item_id"]) for row in exported["events"]] == [(196, item) for item in typed]
    assert [(row["user_id"], row["item_ids"]) for row in exported["exposures"]] == [(196, typed)]
    assert (await api.delete("/api/v1/users/196")).json()["user_id"] == 196
