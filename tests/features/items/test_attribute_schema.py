from typing import Any

import pytest

from configs.settings import Data, SettingsError, load_settings
from data.dataset import DataError
from features.items.attribute_schema import declare_attributes, read_schemas
from features.items.catalogue import Catalogue, Item, put_items, read_item, unpack_item
from features.recording.online_store import OnlineStore

pytestmark = pytest.mark.anyio


async def test_declarations_add_up_and_every_view_learns_of_them(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    view = Catalogue(client, keys)
    await put_items(client, keys, [Item("1", "One")])
    await view.refresh()
    await declare_attributes(client, keys, {"brand": "keyword"}, {"age": "number"}, "the data set")
    await declare_attributes(client, keys, {"price": "number", "brand": "keyword"}, {}, "the settings")
    await declare_attributes(client, keys, {}, {}, "nobody")
    assert await view.refresh() == []
    assert (view.item_schema, view.user_schema) == ({"brand": "keyword", "price": "number"}, {"age": "number"})
    assert (view.items["1"].title, view.version) == ("One", 3)
    await client.run("HSET", keys.attribute_schema, "placement:x", "keyword", "item:place", "point")
    fresh = Catalogue(client, keys)
    await fresh.refresh()
    assert (fresh.item_schema, fresh.user_schema) == (view.item_schema, view.user_schema)


@pytest.mark.parametrize(
    ("items", "users", "words"),
    [
        (
            {"price": "text", "size": "text"},
            {},
            "item_attributes of the data set: price is a text, and the store",
        ),
        ({}, {"age": "keyword"}, "user_attributes of the data set: age is a keyword, and the store holds it as number"),
        ({"title": "text"}, {}, "title: is a field of its own"),
        ({f"a{n}": "text" for n in range(50)}, {}, "at most 50 attributes, not 51"),
    ],
)
async def test_a_type_that_changes_is_refused_by_its_name_and_nothing_is_written(
    valkey_store: OnlineStore, items: Any, users: Any, words: str
) -> None:
    client, keys = valkey_store.client, valkey_store.keys
    await declare_attributes(client, keys, {"price": "number"}, {"age": "number"}, "the settings")
    with pytest.raises(DataError, match=words):
        await declare_attributes(client, keys, items, users, "the data set")
    assert await read_schemas(client, keys) == ({"price": "number"}, {"age": "number"})


async def test_an_item_of_an_earlier_version_is_read_and_attributes_come_back(valkey_store: OnlineStore) -> None:
    earlier = b'{"created_ms":5,"item_id":"1","title":"T","year":null,"categories":["a"],"hidden":false,"deleted":false,"updated_ms":6}'  # noqa: E501
    assert unpack_item(earlier) == Item("1", "T", None, ("a",), created_ms=5, updated_ms=6)
    assert unpack_item(earlier).attributes == {}
    given = {"colours": ["é", 'a "quoted" one'], "price": 1.5, "new": False}
    item = Item("2", "T", attributes=given)
    await put_items(valkey_store.client, valkey_store.keys, [item])
    found = await read_item(valkey_store.client, valkey_store.keys, "2")
    assert found == item
    assert found.attributes == given


def test_settings_declare_attributes_of_the_same_types() -> None:
    assert Data().item_attributes == {}
    assert load_settings(data={"item_attributes": {"brand": "keyword"}}).data.item_attributes == {"brand": "keyword"}
    with pytest.raises(SettingsError, match=r"data\.user_attributes\.age"):
        load_settings(data={"user_attributes": {"age": "int"}})
