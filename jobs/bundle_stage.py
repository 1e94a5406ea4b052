"""A finished bundle as the first stage of a batch: the same functions as in training, on the bundle's arrays."""

from dataclasses import replace

import numpy as np

from data.matrix import pairs_to_csr
from data.vocabulary import Vocabulary
from jobs.requests import in_store_order
from jobs.training_data import TrainingData
from jobs.two_stage import Catalogue, FirstStage
from models.als import AlsFactors
from models.bundle import Bundle
from models.fold_in import FoldIn
from models.item_table import ItemStatistics, item_table


def in_vocabulary_of(bundle: Bundle, data: TrainingData) -> TrainingData:
    """The events on items that the bundle knows, in store order, with items by their position in the bundle."""
    items = Vocabulary(bundle.item_ids)
    position = items.encode(data.items.ids)
    known = np.flatnonzero(position[data.item] >= 0)
    part = data.rows(known)
    return in_store_order(replace(part, items=items, item=position[part.item]))


def stage_of_bundle(
    bundle: Bundle, data: TrainingData, catalogue: Catalogue, recommendable: np.ndarray, prior_weight: float
) -> FirstStage:
    """What serving would answer from.

    Args:
        data: see `in_vocabulary_of`.
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
