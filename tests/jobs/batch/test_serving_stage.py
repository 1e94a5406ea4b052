"""What a training reads of the catalogue."""

import asyncio

import numpy as np

from configs.settings import Settings
from data.dataset import load_dataset, processed_dir
from features.items.catalogue import Item, put_items
from features.redis.connection import connect
from features.redis.layout import keys_of
from features.users.erasure import Erasures
from jobs.batch.serving_stage import catalogue_of, catalogue_with_events, read_catalogue
from jobs.train.load_data import load_training_data


def put(settings: Settings, *items: Item) -> None:
    async def write() -> None:
        client = connect(settings.patient_store, settings.store_url)
        await put_items(client, keys_of(settings.store), items)
        await client.aclose()

    asyncio.run(write())


def test_a_training_reads_of_the_catalogue_what_has_events_as_the_store_has_it(with_store: Settings) -> None:
    put(
        with_store,
        Item("3", "Three", 1999, ("odd",), created_ms=5),
        Item("8", "Eight", None, ("even",), deleted=True),
        Item("nobody had this", "New", 2020, ("odd", "new")),
    )
    data = load_training_data(with_store, Erasures({}))
    facts = catalogue_with_events(with_store, data)
    dataset = load_dataset(processed_dir(with_store), in_memory=False)
    whole = catalogue_of(data, read_catalogue(with_store), dataset, {})
    np.testing.assert_array_equal(facts.year, whole.year)
    assert {name: mine.tolist() for name, mine in facts.categories.items()} == {
        name: mine.tolist() for name, mine in whole.categories.items()
    }
    place = data.items.encode(["3"])[0]
    assert facts.year[place] == 1999
    assert facts.categories["odd"].tolist() == [place]
    assert facts.described is not None
    assert whole.described is not None
    assert facts.described.items == whole.described.items


def test_of_a_data_set_only_the_wanted_items_are_read(with_store: Settings) -> None:
    folder = processed_dir(with_store)
    some = load_dataset(folder, in_memory=False, item_ids=["3", "8", "unknown"]).items
    assert sorted(some["item_id"]) == ["3", "8"]
    assert len(load_dataset(folder, in_memory=False).items) == 40
