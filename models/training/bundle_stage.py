"""A finished bundle as a first stage: what it would serve, over the events of a `TrainingData`."""

from dataclasses import dataclass, replace

import numpy as np

from configs.decay import TRENDING_WINDOW
from data.matrix import pairs_to_csr
from models.bundle.reading import Bundle
from models.factors.als import AlsFactors
from models.factors.fold_in import FoldIn
from models.ranking.attributes import NO_ATTRIBUTES
from models.ranking.item_relations import TABLES, ItemRelations
from models.ranking.item_table import ItemStatistics, item_table
from models.relations.near_counts import CELLS
from models.relations.top_k import TopK
from models.retrieval.candidates import Source
from models.sequence.encoder import SequenceEncoder
from models.training.first_stage import HISTORY_LIMIT, FirstStage
from models.training.item_facts import ItemFacts
from models.training.training_data import TrainingData


@dataclass(frozen=True)
class NewItems:
    """What serving knows of items that a bundle does not have, by position in the data; other items' rows are not read.

    Attributes:
        factors: (n_items, f) float32, estimated; zeros where there is nothing to estimate them from.
        added_ms: (n_items,) float64.
        source: `CONTENT` or `CATEGORY`, as serving calls such candidates.
    """

    factors: np.ndarray
    added_ms: np.ndarray
    source: Source


def stage_of_bundle(
    bundle: Bundle,
    data: TrainingData,
    catalogue: ItemFacts,
    prior_weight: float,
    history_limit: int = HISTORY_LIMIT,
    recommendable: np.ndarray | None = None,
    new: NewItems | None = None,
    near_cells: int = CELLS,
) -> FirstStage:
    """The bundle's arrays, with its items brought to their positions in `data`.

    An item that only the data has is unknown to the stage, as to the model, but for what is written of it (`new`). An
    item that only the bundle has (all its events were erased) is left away.

    Args:
        data: in store order (`models.training.past_requests.in_store_order`).
        catalogue: aligned with the items of `data`.
        recommendable: (n_items,) bool, False for items that are hidden or deleted; None for all.
        new: what is known of items that the bundle does not have; None where those are nobody's candidates.
        near_cells: the most cells of near counts, as in serving.
    """
    weighting, parameters = bundle.manifest.weighting, bundle.manifest.parameters
    network = bundle.sequence
    interest = data.interest(weighting)
    n_items = len(data.items)
    source = np.full(n_items, -1, np.int64)
    place = data.items.encode(bundle.item_ids)
    source[place[place >= 0]] = np.flatnonzero(place >= 0)
    in_model = source >= 0
    counts = np.where(in_model, bundle.item_counts[source], 0)
    factors = np.where(in_model[:, None], bundle.item_factors[source], np.float32(0))
    unknown = np.full(n_items, np.nan)
    statistics = ItemStatistics(counts, unknown.astype(np.float32), unknown.astype(np.float32), unknown)
    relations, used, of_users, repeats = None, NO_ATTRIBUTES, None, False
    if bundle.ranking is not None:
        known = bundle.ranking.statistics
        statistics = ItemStatistics(
            counts,
            np.where(in_model, known.value_mean[source], np.nan).astype(np.float32),
            np.where(in_model, known.year[source], np.nan).astype(np.float32),
            np.where(in_model, known.first_ms[source], np.nan),
        )
        relations = _moved(bundle.ranking.relations, source, place)
        repeats = bundle.ranking.reads_repeats
        used = bundle.ranking.attributes
        if bundle.ranking.user_values is not None:
            # A user whom the bundle does not know has none in serving either.
            of_users = np.full((len(data.users), bundle.ranking.user_values.shape[1]), np.nan, np.float32)
            user = data.users.encode(bundle.user_ids)
            of_users[user[user >= 0]] = bundle.ranking.user_values[user >= 0]
    fold_in_factors, source_of_new = factors, Source.CONTENT
    if new is not None:
        factors = np.where(in_model[:, None], factors, new.factors)
        statistics = replace(statistics, first_ms=np.where(in_model, statistics.first_ms, new.added_ms))
        source_of_new = new.source
    shown = np.asarray(factors.any(axis=1))
    if network is None:
        shown |= counts > 0
    return FirstStage(
        data=data,
        weighting=weighting,
        weights=pairs_to_csr(interest.users, interest.items, interest.weights, len(data.users), n_items),
        known_items=shown if recommendable is None else shown & recommendable,
        factors=AlsFactors(bundle.user_factors, factors),
        fold_in=None
        if parameters is None
        else FoldIn(
            fold_in_factors,
            parameters.regularization,
            parameters.alpha,
            bundle.mean_user,
            prior_weight=prior_weight,
            weight_power=parameters.weight_power,
        ),
        relations=relations,
        table=item_table(factors, statistics, catalogue.categories, attributes=catalogue.attribute_table(used)),
        memberships=catalogue.memberships,
        in_model=in_model,
        history_limit=history_limit,
        user_values=of_users,
        trending_window=TRENDING_WINDOW if bundle.manifest.ranker is None else bundle.manifest.ranker.trending_window,
        repeats=repeats,
        near_cells=near_cells,
        new_source=source_of_new,
        sequence=None if network is None else SequenceEncoder(fold_in_factors, network.weights, network.heads),
    )


def _moved(relations: ItemRelations | None, source: np.ndarray, place: np.ndarray) -> ItemRelations | None:
    """The relations in the positions of the data; nothing follows from, or leads to, an item without a row.

    Args:
        source: (n_items,) the bundle's position of each item of the data, -1 for none; `place` the reverse.
    """
    if relations is None or np.array_equal(source, np.arange(len(place))):
        return relations
    known = source >= 0

    def dense(matrix: np.ndarray | None) -> np.ndarray | None:
        if matrix is None:
            return None
        return np.where(known[:, None] & known[None, :], matrix[np.ix_(source, source)], np.float32(0))

    tables: list[TopK | None] = [getattr(relations, name) for name in TABLES]
    return ItemRelations(
        dense(relations.ease),
        dense(relations.follows),
        *(None if table is None else table.moved(source, place) for table in tables),
    )
