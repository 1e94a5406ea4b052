"""Items and users with attributes over HTTP, with a console on a real store."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow as pa
import pytest

from configs import clock
from configs.event_types import load_event_types
from configs.settings import Settings, Store
from data.event_log import EventLog
from data.log_tables import SCHEMAS
from deployments.console.console import Console
from deployments.console.routes import console_api
from deployments.operations.similar_items import Similar
from features.items.attribute_schema import declare_attributes
from features.items.catalogue import Catalogue, Item, put_items, read_item
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.keys import Keys

pytestmark = pytest.mark.anyio
NOW_MS = 1_790_000_000_000


async def no_neighbours(item_id: bytes, n: int) -> Similar:
    return Similar(None, "str", False, [])


async def unused(*_: Any) -> Any:
    raise AssertionError("nothing here asks for this")


@pytest.fixture
async def api(
    tmp_path: Path, store_settings: Store, client: StoreClient, keys: Keys
) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(
        state_dir=tmp_path, store=store_settings.model_dump(), tracking={"uri": f"sqlite:///{tmp_path}/none.db"}
    )
    await declare_attributes(
        client,
        keys,
        {
            "brand": "keyword",
            "colours": "keywords",
            "price": "number",
            "blurb": "text",
            "new": "flag",
            "since": "time",
            "meaning": "vector",
        },
        {"age": "number", "town": "keyword"},
        "the test",
    )
    console = Console(settings, no_neighbours, unused, unused)
    await console.start()
    app = console_api(lambda: console, settings.serving)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as found:
        yield found
    await console.stop()


@pytest.fixture
def store(client: StoreClient, keys: Keys, store_settings: Store) -> OnlineStore:
    return OnlineStore(client, keys, store_settings, load_event_types())


async def test_an_item_with_attributes_comes_back_whole_and_others_hold_only_what_they_need(
    api: httpx.AsyncClient, client: StoreClient, keys: Keys
) -> None:
    given = {"brand": "Acme", "colours": ["red", "blue", "red"], "price": 12.5, "new": True, "since": "2026-01-31",
             "meaning": [0.5, 2],
             "blurb": None}  # fmt: skip
    put = await api.put(
        "/api/v1/items/a%2Fb", json={"title": "Kettle", "categories": ["Kitchen"], "year": 2020, "attributes": given}
    )
    assert put.status_code == 200, put.text
    kept = {
        "brand": "Acme",
        "colours": ["red", "blue"],
        "meaning": [0.5, 2.0],
        "new": True,
        "price": 12.5,
        "since": 1_769_817_600_000,
    }
    shown = (await api.get("/api/v1/items/a%2Fb")).json()
    assert shown == put.json()
    assert (shown["item_id"], shown["attributes"], shown["hidden"]) == ("a/b", kept, False)
    assert shown["categories"] == shown["genres"] == ["Kitchen"]
    for types, expected in ((None, kept), ((), {}), (("keyword",), {"brand": "Acme"})):
        view = Catalogue(client, keys, types=types)
        await view.refresh()
        assert view.items["a/b"].attributes == expected
        assert view.item_schema["brand"] == "keyword"
    [found] = (await api.get("/api/v1/items?query=kett&attribute.colours=blue")).json()["items"]
    assert (found["title"], found["attributes"], found["genres"]) == ("Kettle", kept, ["Kitchen"])


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"title": "t", "genres": ["a"], "categories": ["b"]}, "genres", "differs from categories"),
        ({"title": "t", "categories": ["x" * 61]}, "categories", "must hold 1 to 60 bytes"),
        ({"title": "t", "genres": [""]}, "genres", "must not be empty"),
        ({"title": " \u200b"}, "title", "must not be empty"),
        ({"title": "t", "attributes": {"price": 2**64}}, "attributes.price", "must fit into 64 bits"),
        ({"title": "t", "attributes": ["brand"]}, "attributes", "give an object"),
        ({"title": "t", "attributes": {"size": 1}}, "attributes.size", "is not declared; declared are blurb, brand"),
        ({"title": "t", "attributes": {"price": "12"}}, "attributes.price", "must be a number, not '12'"),
        ({"title": "t", "attributes": {"price": True}}, "attributes.price", "must be a number, not True"),
        ({"title": "t", "attributes": {"brand": "x" * 61}}, "attributes.brand", "1 to 60 bytes"),
        ({"title": "t", "attributes": {"colours": [str(n) for n in range(51)]}}, "attributes.colours", "at most 50"),
        ({"title": "t", "attributes": {"colours": "red"}}, "attributes.colours", "must be a list of texts"),
        ({"title": "t", "attributes": {"blurb": "x" * 2001}}, "attributes.blurb", "at most 2000 characters"),
        ({"title": "t", "attributes": {"new": "yes"}}, "attributes.new", "must be true or false"),
        ({"title": "t", "attributes": {"since": "soon"}}, "attributes.since", "ISO 8601"),
    ],
)
async def test_what_is_no_item_is_refused_by_its_field_alone_and_in_a_batch(
    api: httpx.AsyncClient, client: StoreClient, keys: Keys, body: dict[str, Any], field: str, words: str
) -> None:
    alone = await api.put("/api/v1/items/1", json=body)
    error = alone.json()["error"]
    assert (alone.status_code, error["field"]) == (422, field)
    assert words in error["message"]
    good = {"item_id": 2, "title": "Good", "genres": ["a"], "categories": ["a"]}
    batch = await api.post(
        "/api/v1/items/batch", json={"items": [good, {"item_id": 1, **body}, {**good, "item_id": 3}]}
    )
    content = batch.json()
    assert (batch.status_code, content["accepted"], content["refused"]) == (200, 2, 1)
    assert content["results"][1] == {"status": "refused", "error": error}
    assert [row.get("item_id") for row in content["results"]] == ["2", None, "3"]
    assert await read_item(client, keys, "1") is None
    assert (await api.get("/api/v1/items/3")).json()["categories"] == ["a"]


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (b"{", None, "not valid JSON"),
        (b"[]", "items", "give a list"),
        (b'{"items": []}', "items", "1 to 1000 items, not 0"),
        (b'{"items": [' + b",".join([b"1"] * 1001) + b"]}", "items", "1 to 1000 items, not 1001"),
        (b'{"items": [1], "more": 1}', "more", "unknown field"),
    ],
)
async def test_a_body_that_is_no_batch_is_refused(
    api: httpx.AsyncClient, body: bytes, field: str | None, words: str
) -> None:
    answer = await api.post("/api/v1/items/batch", content=body, headers={"content-type": "application/json"})
    error = answer.json()["error"]
    assert (answer.status_code, error.get("field")) == (422, field)
    assert words in error["message"]


async def test_a_row_of_a_batch_that_is_no_object_or_has_no_good_id_is_refused_alone(api: httpx.AsyncClient) -> None:
    rows = [7, {"title": "t"}, {"item_id": "..", "title": "t"}, {"item_id": "a/b", "title": "t"}]
    content = (await api.post("/api/v1/items/batch", json={"items": rows})).json()
    fields = [row.get("error", {}).get("field") for row in content["results"]]
    assert (content["accepted"], fields) == (1, [None, "item_id", "item_id", None])


async def test_items_are_listed_page_by_page_with_their_total(
    api: httpx.AsyncClient, client: StoreClient, keys: Keys
) -> None:
    items = [
        {"item_id": f"i{n}", "title": f"Pot {n}", "hidden": n == 3, "categories": ["Even"] * (n % 2 == 0),
         "attributes": {"price": n}} for n in range(7)
    ]  # fmt: skip
    await api.post("/api/v1/items/batch", json={"items": items})
    await api.delete("/api/v1/items/i5")
    seen, cursor = [], ""
    for _ in range(3):
        page = (await api.get(f"/api/v1/items?limit=3{cursor}")).json()
        assert page["total"] == 6
        seen += [item["item_id"] for item in page["items"]]
        assert len(page["items"]) == 3
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == ["i0", "i1", "i2", "i3", "i4", "i6"]
    other = await api.get(f"/api/v1/items?limit=3&query=pot{cursor}")
    assert (other.status_code, other.json()["error"]["field"]) == (422, "cursor")
    for asked, ids in (
        ("shown=recommendable", ["i0", "i1", "i2", "i4", "i6"]),
        ("shown=hidden", ["i3"]),
        ("category=Even", ["i0", "i2", "i4", "i6"]),
        ("attribute.price=4.0", ["i4"]),
        ("query=pot+6", ["i6"]),
    ):
        found = (await api.get(f"/api/v1/items?{asked}")).json()
        assert ([item["item_id"] for item in found["items"]], found["total"]) == (ids, len(ids)), asked
    twice = await api.get("/api/v1/items?attribute.price=4.0&attribute.price=5")
    assert (twice.status_code, twice.json()["error"]["field"]) == (422, "attribute.price")
    assert "stands twice" in twice.json()["error"]["message"]
    bad = await api.get("/api/v1/items?attribute.price=dear")
    assert bad.json()["error"]["field"] == "attribute.price"
    listed = await api.get("/api/v1/items?attribute.meaning=0.5")
    assert (listed.status_code, listed.json()["error"]["field"]) == (422, "attribute.meaning")
    assert "no value can be asked for" in listed.json()["error"]["message"]


async def test_the_longest_ids_have_pages_too(api: httpx.AsyncClient, client: StoreClient, keys: Keys) -> None:
    ids = [f"{n}" + "\N{PARTY POPPER}" * 199 for n in range(3)]
    await api.post("/api/v1/items/batch", json={"items": [{"item_id": item_id, "title": "Pot"} for item_id in ids]})
    for item_id in ids:
        await api.put(f"/api/v1/users/{quote(item_id)}", json={"attributes": {}})
    for path, kind in (("items?", "item"), ("items?query=pot&", "item"), ("users?", "user")):
        first = (await api.get(f"/api/v1/{path}limit=1")).json()
        second = (await api.get(f"/api/v1/{path}limit=1&cursor={first['next_cursor']}")).json()
        assert [page[f"{kind}s"][0][f"{kind}_id"] for page in (first, second)] == ids[:2]


async def test_a_search_ranks_by_popularity_among_equal_matches(
    api: httpx.AsyncClient, client: StoreClient, keys: Keys, store: OnlineStore
) -> None:
    await put_items(client, keys, [Item(f"i{n}", "Blue pot") for n in range(4)])
    await store.record_events([Event(f"e{n}", f"u{n}", "i2", "like", NOW_MS) for n in range(2)])
    await store.record_events([Event("e9", "u9", "i3", "like", NOW_MS)])
    await api.put("/api/v1/items/i9", json={"title": "Pot"})  # the view has followed then
    found = (await api.get("/api/v1/items?query=pot")).json()
    assert [item["item_id"] for item in found["items"]] == ["i9", "i2", "i3", "i0", "i1"]


async def test_the_catalogue_tells_schema_and_totals(api: httpx.AsyncClient, store: OnlineStore) -> None:
    await api.put("/api/v1/items/1", json={"title": "t", "categories": ["a", "b"]})
    await api.put("/api/v1/items/2", json={"title": "t", "hidden": True, "categories": ["c"]})
    await api.put("/api/v1/items/3", json={"title": "t"})
    await api.delete("/api/v1/items/3")
    await store.record_events([Event("e", "u", "1", "like", NOW_MS)])
    found = (await api.get("/api/v1/catalogue")).json()
    assert found["version"] == 5  # the schema, and four changes
    assert found["items"].pop("attributes") == {
        "blurb": "text", "brand": "keyword", "colours": "keywords", "meaning": "vector", "new": "flag",
        "price": "number", "since": "time",
    }  # fmt: skip
    assert found["items"] == {"total": 2, "recommendable": 1, "hidden": 1, "categories": 2}
    assert found["users"] == {"total": 1, "attributes": {"age": "number", "town": "keyword"}}


async def test_a_user_with_attributes_is_shown_listed_exported_and_erased(
    api: httpx.AsyncClient, store: OnlineStore, client: StoreClient, keys: Keys
) -> None:
    await store.record_events([Event(f"e{n}", f"u{n}", "i", "like", NOW_MS + n) for n in range(5)])
    put = await api.put("/api/v1/users/x%2Fy", json={"attributes": {"age": 33, "town": "Ghent"}})
    assert put.status_code == 200, put.text
    assert (put.json()["user_id"], put.json()["version"], put.json()["events"]) == ("x/y", 0, {})
    await api.put("/api/v1/users/u3", json={"attributes": {"age": 5, "town": None}})
    assert (await api.get("/api/v1/users/u3")).json()["attributes"] == {"age": 5}
    assert (await api.get("/api/v1/users/u2")).json()["attributes"] == {}
    seen, cursor = [], ""
    for _ in range(3):
        page = (await api.get(f"/api/v1/users?limit=2{cursor}")).json()
        assert page["total"] == 6
        seen += [(user["user_id"], user["events"], user["attributes"]) for user in page["users"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert seen == [
        ("u0", 1, {}), ("u1", 1, {}), ("u2", 1, {}), ("u3", 1, {"age": 5}), ("u4", 1, {}),
        ("x/y", 0, {"age": 33, "town": "Ghent"}),
    ]  # fmt: skip
    found = (await api.get("/api/v1/users?query=x")).json()
    assert ([user["user_id"] for user in found["users"]], found["total"]) == (["x/y"], 1)
    assert (await api.get("/api/v1/users/x%2Fy/export")).json()["attributes"] == {"age": 33, "town": "Ghent"}
    assert (await api.delete("/api/v1/users/x%2Fy")).json()["keys"] == 1
    for path in ("/api/v1/users/x%2Fy", "/api/v1/users/x%2Fy/export"):
        assert (await api.get(path)).status_code == 404
    assert (await api.get("/api/v1/users?query=x")).json() == {"total": 0, "users": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "attributes"),
        ({"attributes": {"size": 1}}, "attributes.size"),
        ({"attributes": {"age": "old"}}, "attributes.age"),
        ({"attributes": {}, "name": "x"}, "name"),
    ],
)
async def test_what_does_not_describe_a_user_is_refused_by_its_field(
    api: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await api.put("/api/v1/users/u", json=body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
    assert (await api.get("/api/v1/users/u")).status_code == 404


async def test_counts_by_day_are_read_from_data_set_and_log(
    api: httpx.AsyncClient, store: OnlineStore, tmp_path: Path
) -> None:
    for item in ("a%2Fb", "quiet"):
        (await api.put(f"/api/v1/items/{item}", json={"title": "Kettle"})).raise_for_status()
    day_ms, now_ms = 86_400_000, clock.now_ms()
    today = now_ms // day_ms
    rows = [("like", today), ("view", today), ("view", today - 2), ("view", today - 2), ("like", today - 40)]
    logged = [
        {"event_id": f"e{n}", "user_id": "u", "item_id": item, "event_type": kind, "value": None,
         "timestamp_ms": day * day_ms, "received_ms": now_ms, "stream_id": f"{n + 1}-0", "partition": 0}
        for n, (kind, day, item) in enumerate([*((kind, day, "a/b") for kind, day in rows), ("view", today, "other")])
    ]  # fmt: skip
    EventLog(tmp_path / "log").write_part("events", 0, pa.Table.from_pylist(logged, SCHEMAS["events"]))
    await store.record_events([Event("e0", "u", "a/b", "like", today * day_ms, None)])
    found = (await api.get("/api/v1/items/a%2Fb/daily?days=28")).json()
    first, before, last = (str(date(1970, 1, 1) + timedelta(days=day)) for day in (today - 27, today - 2, today))
    assert (found["item_id"], found["first_day"], found["last_day"]) == ("a/b", first, last)
    assert found["days"] == [
        {"day": before, "events": {"view": 2}},
        {"day": last, "events": {"like": 1, "view": 1}},
    ]
    assert (await api.get("/api/v1/items/quiet/daily")).json()["days"] == []
    assert (await api.get("/api/v1/items/none/daily")).status_code == 404
    assert (await api.get("/api/v1/items/quiet/daily?days=0")).status_code == 422
