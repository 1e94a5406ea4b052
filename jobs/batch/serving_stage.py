"""The bundle that serves, as the first stage of a batch: the same functions as in training, on the bundle's arrays."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.settings import Settings
from data.dataset import Dataset, load_dataset, processed_dir
from data.fields.attributes import Schema
from data.fields.frames import frame_attributes
from features.items.catalogue import Catalogue, Item
from features.recovery.described import catalogue_items
from features.redis.session import with_store
from features.serving.slots import CHAMPION
from jobs.train.store_calls import current_slots
from models.bundle.arrays import BundleError
from models.bundle.reading import Bundle
from models.content.description import Description
from models.training.bundle_stage import stage_of_bundle
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
    return stage_of_bundle(
        bundle,
        data,
        catalogue_of(data, items),
        settings.serving.prior_weight,
        settings.store.history_limit,
        visible,
    )
