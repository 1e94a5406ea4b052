"""The bundle that serves, as the first stage of a batch: the same functions as in training, on the bundle's arrays."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.settings import Settings
from data.dataset import Dataset, load_dataset, processed_dir
from data.fields.attributes import Schema
from data.fields.frames import frame_attributes
from features.items.catalogue import Catalogue, Item, read_items
from features.recovery.described import catalogue_items
from features.redis.session import with_store
from features.serving.slots import CHAMPION
from jobs.train.store_calls import current_slots
from models.bundle.arrays import BundleError
from models.bundle.reading import Bundle
from models.content.description import Description
from models.retrieval.candidates import Source
from models.retrieval.shelf import estimate_factors
from models.training.bundle_stage import NewItems, stage_of_bundle
from models.training.first_stage import FirstStage
from models.training.item_facts import ItemFacts, descriptions_of, item_facts, known_attributes
from models.training.training_data import TrainingData


def bundle_path(settings: Settings, version: str | None) -> Path:
    """Where the bundle of a version lies; the champion's for None.

    Raises:
        BundleError: there is no champion.
        StoreError: the slots cannot be read.
    """
    slot = current_slots(settings).get(CHAMPION)
    if version is None and slot is None:
        raise BundleError("no champion yet; train one with: make retrain")
    return slot.path if slot is not None and version in (None, slot.version) else settings.bundles_dir / str(version)


def read_catalogue(settings: Settings) -> list[Item]:
    """The catalogue as serving has it: the data set's items, and what was put, changed or taken away since.

    Raises:
        DataError: the data set cannot be read.
        StoreError: the store does not answer.
    """
    items = {item.item_id: item for item in catalogue_items(load_dataset(processed_dir(settings), in_memory=False))}
    stored = with_store(settings, lambda client, keys: Catalogue(client, keys).load())
    return list((items | {item.item_id: item for item in stored}).values())


def catalogue_with_events(settings: Settings, data: TrainingData) -> ItemFacts:
    """What the catalogue says of the items of `data`, with all attributes. Items without an event are not read: a
    catalogue may list a million of them.

    Raises:
        DataError, StoreError: as `read_catalogue`.
    """
    ids = [str(item_id) for item_id in data.items.ids.tolist()]
    dataset = load_dataset(processed_dir(settings), in_memory=False, item_ids=ids)
    items = {item.item_id: item for item in catalogue_items(dataset)}
    stored = with_store(settings, lambda client, keys: read_items(client, keys, ids))
    items |= {item.item_id: item for item in stored}
    return catalogue_of(data, list(items.values()), dataset, settings.data.item_attributes)


def catalogue_of(
    data: TrainingData, items: list[Item], described: Dataset | None = None, declared: Schema | None = None
) -> ItemFacts:
    """What the catalogue says of the items of `data`.

    Args:
        described: the data set that says which attributes there are, and has those of the users; None where no ranker
            learns to read them.
        declared: further attributes of the items, those of the settings.
    """
    facts = item_facts(
        data.items,
        [item.item_id for item in items],
        [item.year for item in items],
        [item.categories for item in items],
    )
    attributes = {item.item_id: item.attributes for item in items}
    if described is None:
        return replace(facts, attributes=known_attributes(data.items, attributes, {}, data.users, {}, {}))
    of_users = frame_attributes(described.users, described.user_attributes)
    users = dict(zip(described.users["user_id"], of_users, strict=True))
    schemas = described.item_attributes, described.user_attributes
    written = descriptions_of(
        data.items, ((item.item_id, description(item)) for item in items), {**schemas[0], **(declared or {})}
    )
    return replace(
        facts,
        attributes=known_attributes(data.items, attributes, schemas[0], data.users, users, schemas[1]),
        described=written,
    )


def description(item: Item) -> Description:
    """What a content map reads of an item."""
    return Description(item.title, item.year, item.categories, item.attributes)


def served_stage(settings: Settings, bundle: Bundle, data: TrainingData) -> FirstStage:
    """What serving answers from now: the bundle, and the catalogue without what is hidden.

    Args:
        data: in store order.

    Raises:
        DataError, StoreError: the catalogue cannot be read.
    """
    items = read_catalogue(settings)
    visible = np.ones(len(data.items), bool)
    hidden = data.items.encode([item.item_id for item in items if not item.recommendable])
    visible[hidden[hidden >= 0]] = False
    facts = catalogue_of(data, items)
    return stage_of_bundle(
        bundle,
        data,
        facts,
        settings.serving.prior_weight,
        settings.store.history_limit,
        visible,
        _new_items(bundle, data, items, facts),
        settings.serving.near_cells,
    )


def listed_items(settings: Settings) -> list[str]:
    """The ids of all items that may be recommended, with events or without.

    Raises:
        DataError, StoreError: the catalogue cannot be read.
    """
    return [item.item_id for item in read_catalogue(settings) if item.recommendable]


def _new_items(bundle: Bundle, data: TrainingData, items: list[Item], facts: ItemFacts) -> NewItems:
    """What serving estimates of the items of `data` that the bundle does not have (`models.retrieval.shelf`)."""
    known = data.items.encode(bundle.item_ids)
    in_model = np.zeros(len(data.items), bool)
    in_model[known[known >= 0]] = True
    new = [(place, item) for place, item in _placed(data, items) if not in_model[place]]
    places = np.array([place for place, _ in new], np.int64)
    factors = np.zeros((len(data.items), bundle.item_factors.shape[1]), np.float32)
    added_ms = np.full(len(data.items), np.nan)
    added_ms[places] = [item.created_ms for _, item in new]
    if bundle.content is not None:
        factors[places] = bundle.content.factors([description(item) for _, item in new])
        return NewItems(factors, added_ms, Source.CONTENT)
    factors[known[known >= 0]] = bundle.item_factors[known >= 0]
    members = {name: mine[in_model[mine]] for name, mine in facts.categories.items()}
    factors[places] = estimate_factors([item.categories for _, item in new], members, factors)
    return NewItems(factors, added_ms, Source.CATEGORY)


def _placed(data: TrainingData, items: list[Item]) -> list[tuple[int, Item]]:
    places = data.items.encode([item.item_id for item in items]).tolist()
    return [(place, item) for place, item in zip(places, items, strict=True) if place >= 0]
