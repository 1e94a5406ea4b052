import gc
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest

from features.items import catalogue
from features.items.catalogue import Catalogue, Item, delete_item, put_items, read_item
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.wire import Command
from features.serving.slots import read_control

pytestmark = pytest.mark.anyio
TOY = Item("1", 'Toy "Story" é', 1995, ("Animation", "Comedy"), created_ms=5, updated_ms=5)


async def test_an_item_comes_back_as_it_was_put(store: OnlineStore) -> None:
    await put_items(store.client, store.keys, [TOY, Item("2", "", None)])
    assert await read_item(store.client, store.keys, "1") == TOY
    assert await read_item(store.client, store.keys, "2") == Item("2", "")
    assert await read_item(store.client, store.keys, "3") is None


async def test_a_view_takes_over_changes_only(store: OnlineStore) -> None:
    view = Catalogue(store.client, store.keys)
    await put_items(store.client, store.keys, [TOY, Item("2", "Two"), Item("3", "Three")])
    assert len(await view.refresh()) == 3
    assert await view.refresh() == []
    hidden = replace(TOY, hidden=True, updated_ms=9)
    await put_items(store.client, store.keys, [hidden])
    await put_items(store.client, store.keys, [Item("4", "Four", created_ms=8)])
    assert await delete_item(store.client, store.keys, "2", 10)
    changed = await view.refresh()
    assert [item.item_id for item in changed] == ["1", "4", "2"]
    assert view.items["1"] == hidden
    assert not view.items["1"].recommendable
    assert view.items["2"].deleted
    assert view.version == (await read_control(store.client, store.keys)).catalogue_version == 4


async def test_reading_everything_is_not_interrupted_by_the_garbage_collector(store: OnlineStore) -> None:
    await put_items(store.client, store.keys, [Item(str(number), "One of many") for number in range(2000)])
    view, begun = Catalogue(store.client, store.keys), 0

    def count(phase: str, info: dict[str, int]) -> None:
        nonlocal begun
        begun += phase == "start"

    thresholds = gc.get_threshold()
    gc.callbacks.append(count)
    gc.set_threshold(10, 1000, 1000)
    try:
        await view.load()
    finally:
        gc.callbacks.remove(count)
        gc.set_threshold(*thresholds)
    assert len(view.items) == 2000
    assert begun < 200  # once for ten items otherwise, and more
    assert gc.isenabled()


async def test_a_deletion_keeps_what_was_put_at_the_same_moment(store: OnlineStore) -> None:
    """Regression: the item came back with the title that it had before the PUT."""
    client, keys = store.client, store.keys
    await put_items(client, keys, [TOY])
    puts = [replace(TOY, title="Toy Story 2"), replace(TOY, title="Toy Story 3")]

    class Meanwhile:
        """The client, with what another replica does between this one's reading and its writing."""

        async def run(self, *command: object) -> object:
            found = await client.run(*command)
            if puts:
                await put_items(client, keys, [puts.pop(0)])
            return found

        async def exchange(self, commands: Sequence[Command], confirm: bool = False) -> list[object]:
            return await client.exchange(commands, confirm)

        async def load_script(self, text: str) -> None:
            await client.load_script(text)

    assert await delete_item(cast(StoreClient, Meanwhile()), keys, "1", 10)
    left = await read_item(client, keys, "1")
    assert left is not None
    assert (left.title, left.deleted, left.created_ms, left.updated_ms) == ("Toy Story 3", True, 5, 10)
    assert not await delete_item(client, keys, "1", 11)


async def test_a_view_that_fell_behind_the_kept_changes_reads_everything(store: OnlineStore) -> None:
    view = Catalogue(store.client, store.keys)
    await put_items(store.client, store.keys, [TOY, Item("2", "Two")])
    await view.refresh()
    for number in range(5):
        await put_items(store.client, store.keys, [replace(TOY, title=f"Toy {number}")])
    await store.client.run("XTRIM", store.keys.catalogue_changes, "MAXLEN", "=", 2)
    changed = await view.refresh()
    assert len(changed) == 2
    assert view.items["1"].title == "Toy 4"


async def test_more_items_than_one_chunk(store: OnlineStore) -> None:
    many = [Item(str(number), f"Item {number}") for number in range(2500)]
    await put_items(store.client, store.keys, many)
    view = Catalogue(store.client, store.keys)
    assert len(await view.refresh()) == 2500
    assert view.version == 3
    await put_items(store.client, store.keys, [replace(item, hidden=True) for item in many])
    assert len(await view.refresh()) == 2500
    assert all(item.hidden for item in view.items.values())


async def test_an_item_keeps_its_first_creation_time_and_a_deleted_one_comes_back(store: OnlineStore) -> None:
    await put_items(store.client, store.keys, [TOY])
    await delete_item(store.client, store.keys, "1", 20)
    assert not await delete_item(store.client, store.keys, "1", 21)
    assert not await delete_item(store.client, store.keys, "nothing", 21)
    await put_items(store.client, store.keys, [replace(TOY, created_ms=30, updated_ms=30)])
    assert await read_item(store.client, store.keys, "1") == replace(TOY, updated_ms=30)


async def test_seeding_again_leaves_changed_items_alone(store: OnlineStore) -> None:
    await put_items(store.client, store.keys, [TOY])
    version = await put_items(store.client, store.keys, [replace(TOY, title="Other")], only_new=True)
    assert version == 1
    assert (await read_item(store.client, store.keys, "1")) == TOY


async def test_a_category_that_would_bloat_users_is_refused(store: OnlineStore) -> None:
    await put_items(store.client, store.keys, [replace(TOY, categories=("x" * catalogue.MAX_CATEGORY_BYTES,))])
    for bad in ("", "é" * 31):
        with pytest.raises(ValueError, match="categories"):
            await put_items(store.client, store.keys, [replace(TOY, categories=(bad,))])
