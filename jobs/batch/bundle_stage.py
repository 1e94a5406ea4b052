"""A finished bundle as the first stage of a batch: the same functions as in training, on the bundle's arrays."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.settings import Settings
from data.dataset import load_dataset
from data.matrix import pairs_to_csr
from data.prepare import processed_dir
from data.vocabulary import Vocabulary
from features.items.catalogue import Catalogue
from features.redis.session import with_store
from features.serving.slots import CHAMPION
from jobs.train.store_calls import current_slots
from models.bundle.arrays import BundleError
from models.bundle.reading import Bundle
from models.factors.als import AlsFactors
from models.factors.fold_in import FoldIn
from models.ranking.item_table import ItemStatistics, item_table
from models.training.first_stage import FirstStage, ItemFacts, read_catalogue
from models.training.past_requests import in_store_order
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


def served_stage(settings: Settings, bundle: Bundle, data: TrainingData) -> FirstStage:
    """What serving answers from now: the bundle, and the catalogue without what is hidden.

    Args:
        data: events as `in_vocabulary_of` gives them.

    Raises:
        DataError, StoreError: the catalogue cannot be read.
    """
    catalogue = read_catalogue(data, load_dataset(processed_dir(settings)).items)
    visible = np.ones(len(data.items), bool)
    hidden = data.items.encode(_not_recommendable(settings))
    visible[hidden[hidden >= 0]] = False
    return stage_of_bundle(bundle, data, catalogue, visible, settings.serving.prior_weight)


def _not_recommendable(settings: Settings) -> list[str]:
    items = with_store(settings, lambda client, keys: Catalogue(client, keys).load())
    return [item.item_id for item in items if not item.recommendable]


def in_vocabulary_of(bundle: Bundle, data: TrainingData) -> TrainingData:
    """The events on items that the bundle knows, in store order, with items by their position in the bundle."""
    items = Vocabulary(bundle.item_ids)
    position = items.encode(data.items.ids)
    known = np.flatnonzero(position[data.item] >= 0)
    part = data.rows(known)
    return in_store_order(replace(part, items=items, item=position[part.item]))


def stage_of_bundle(
    bundle: Bundle, data: TrainingData, catalogue: ItemFacts, recommendable: np.ndarray, prior_weight: float
) -> FirstStage:
    """The first stage of a bundle: what serving would answer from.

    Args:
        data: events as `in_vocabulary_of` gives them.
        catalogue: aligned with the bundle's items.
        recommendable: (n_items,) bool, False for items that are hidden or deleted.
    """
    weighting, parameters = bundle.manifest.weighting, bundle.manifest.parameters
    interest = data.interest(weighting)
    n_items = len(bundle.item_ids)
    unknown = np.full(n_items, np.nan)
    statistics = ItemStatistics(bundle.item_counts, unknown.astype(np.float32), unknown.astype(np.float32), unknown)
    if bundle.ranking is not None:
        statistics = bundle.ranking.statistics
    return FirstStage(
        data=data,
        weighting=weighting,
        weights=pairs_to_csr(interest.users, interest.items, interest.weights, len(data.users), n_items),
        known_items=(bundle.item_counts > 0) & recommendable,
        factors=AlsFactors(bundle.user_factors, bundle.item_factors),
        fold_in=FoldIn(
            bundle.item_factors,
            parameters.regularization,
            parameters.alpha,
            bundle.mean_user,
            prior_weight=prior_weight,
            weight_power=parameters.weight_power,
        ),
        relations=None if bundle.ranking is None else bundle.ranking.relations,
        table=item_table(bundle.item_factors, statistics, catalogue.categories),
        memberships=catalogue.memberships,
    )
