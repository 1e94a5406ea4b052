"""The first stage on past requests: factors fitted on the events before them, and the candidates that these give.

The same pure functions as in serving, fed from rows of a `TrainingData` instead of the online store.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from configs.event_types import Weighting
from data.matrix import pairs_to_csr, pairs_to_mask
from models.factors.als import AlsFactors, AlsParameters, fit_als
from models.factors.fold_in import FoldIn
from models.factors.interest import aggregate_interest
from models.ranking.item_relations import ItemRelations, fit_relations
from models.ranking.item_table import ItemTable, item_statistics, item_table
from models.ranking.point_in_time import DecayedPopularity
from models.retrieval.whole_catalogue import top_k
from models.training.past_requests import Requests
from models.training.training_data import TrainingData


@dataclass(frozen=True)
class ItemFacts:
    """What is known of the items beside events, by position in the vocabulary.

    Attributes:
        year: (n_items,) float32, NaN where unknown.
        categories: category -> (n_items,) bool.
    """

    year: np.ndarray
    categories: dict[str, np.ndarray]

    @property
    def memberships(self) -> np.ndarray:
        """(n_items, C) float32, columns in alphabetical order."""
        if not self.categories:
            return np.zeros((len(self.year), 0), np.float32)
        return np.stack([self.categories[name] for name in sorted(self.categories)], axis=1).astype(np.float32)


@dataclass(frozen=True)
class FirstStage:
    """A fitted model without a ranker.

    Attributes:
        weights: (n_users, n_items) what it was fitted on.
        known_items: (n_items,) bool, items with a positive weight.
    """

    data: TrainingData
    weighting: Weighting
    weights: sp.csr_matrix
    known_items: np.ndarray
    factors: AlsFactors
    fold_in: FoldIn
    relations: ItemRelations | None
    table: ItemTable
    memberships: np.ndarray


@dataclass(frozen=True)
class CandidateTable:
    """Of B requests: items (B, k) int64, best first, -1 padded; scores (B, k) float32, NaN in the padding."""

    items: np.ndarray
    scores: np.ndarray


def read_catalogue(data: TrainingData, items: pd.DataFrame | None) -> ItemFacts:
    """Align a data set's items with the vocabulary; None where there is no catalogue."""
    n_items = len(data.items)
    year = np.full(n_items, np.nan, np.float32)
    categories: dict[str, np.ndarray] = {}
    if items is None:
        return ItemFacts(year, categories)
    position = data.items.encode(items["item_id"])
    listed = position >= 0
    year[position[listed]] = items["year"].to_numpy(np.float32, na_value=np.nan)[listed]
    for place, names in zip(position.tolist(), items["categories"], strict=True):
        if place >= 0:
            for name in names:
                categories.setdefault(name, np.zeros(n_items, bool))[place] = True
    return ItemFacts(year, categories)


def fit_first_stage(
    data: TrainingData,
    train: np.ndarray,
    weighting: Weighting,
    parameters: AlsParameters,
    catalogue: ItemFacts,
    seed: int,
    threads: int,
    prior_weight: float = 0.5,
) -> FirstStage:
    """Fit ALS, the relations and the item table on the rows `train` alone."""
    part = data.rows(np.sort(train))
    interest = part.interest(weighting)
    weights = pairs_to_csr(interest.users, interest.items, interest.weights, len(data.users), len(data.items))
    factors = fit_als(weights, parameters, seed, threads)
    active = np.diff(weights.indptr) > 0
    mean_user = factors.user_factors[active].mean(axis=0)
    counts = np.bincount(weights.indices, minlength=len(data.items))
    positive = data.types.confidence(part.codes, part.values, weighting) > 0
    statistics = item_statistics(counts, part.item, part.times_ms, part.values, catalogue.year)
    return FirstStage(
        data=data,
        weighting=weighting,
        weights=weights,
        known_items=counts > 0,
        factors=factors,
        fold_in=FoldIn(
            factors.item_factors,
            parameters.regularization,
            parameters.alpha,
            mean_user,
            prior_weight=prior_weight,
            weight_power=parameters.weight_power,
        ),
        relations=fit_relations(weights, part.user[positive], part.item[positive], part.times_ms[positive]),
        table=item_table(factors.item_factors, statistics, catalogue.categories),
        memberships=catalogue.memberships,
    )


def request_interest(stage: FirstStage, requests: Requests) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Items (m,) and weights (m,) of each request's history; an item of weight 0 was met, but says nothing."""
    data, rows = stage.data, requests.rows
    flat = np.concatenate([np.empty(0, np.int64), *rows])
    number = np.repeat(np.arange(len(rows)), [len(mine) for mine in rows])
    found = aggregate_interest(
        number,
        data.item[flat],
        data.times_ms[flat],
        data.codes[flat],
        data.values[flat],
        data.types,
        stage.weighting,
    )
    edges = np.searchsorted(found.users, np.arange(1, len(rows)))
    return np.split(found.items, edges), np.split(found.weights, edges)


def find_candidates(
    stage: FirstStage, requests: Requests, k: int, trending: int = 0, excluded: sp.csr_matrix | None = None
) -> CandidateTable:
    """The k best items by the folded-in history, followed by what is popular just then and not among them.

    Users without history get none.

    Args:
        excluded: (B, n_items), stored entries are left out; what the history holds, where none are given.
        trending: how many items are added by decayed popularity (half-life 7 days), with their own scores. Factors
            know little of what came out last week, and that is what many users come for.
    """
    items, weights = request_interest(stage, requests)
    n_items = len(stage.known_items)
    if excluded is None:
        numbers = np.repeat(np.arange(len(items)), [len(mine) for mine in items])
        excluded = pairs_to_mask(numbers, np.concatenate([np.empty(0, np.int64), *items]), len(items), n_items)
    vectors, known = stage.fold_in.solve(items, weights)
    result = CandidateTable(
        np.full((len(items), k + trending), -1, np.int64), np.full((len(items), k + trending), np.nan, np.float32)
    )
    popularity = popularity_walk(stage, requests)
    order = np.argsort(requests.visible, kind="stable")  # the walk goes forward only
    for start in range(0, len(order), 1024):
        part = order[start : start + 1024]
        scores = vectors[part] @ stage.factors.item_factors.T
        allowed = np.repeat(stage.known_items[None, :], len(part), axis=0) & known[part, None]
        block = excluded[part]
        allowed[np.repeat(np.arange(len(part)), np.diff(block.indptr)), block.indices] = False
        best = top_k(np.where(allowed, scores, -np.inf), k)
        if trending:
            rows = np.repeat(np.arange(len(part)), k)
            allowed[rows[best.ravel() >= 0], best[best >= 0]] = False
            heat = np.stack([popularity.after(int(requests.visible[place]))[1] for place in part.tolist()])
            best = np.concatenate([best, top_k(np.where(allowed & (heat > 0), heat, -np.inf), trending)], axis=1)
        result.items[part] = best
        result.scores[part] = np.where(best >= 0, np.take_along_axis(scores, np.maximum(best, 0), axis=1), np.nan)
    return result


def popularity_walk(stage: FirstStage, requests: Requests) -> DecayedPopularity:
    """Decayed popularity over the events that the requests may know of."""
    data, counted = stage.data, requests.popularity_rows
    weights = data.types.confidence(data.codes[counted], data.values[counted], "preference")
    return DecayedPopularity(data.item[counted], data.times_ms[counted], weights, len(stage.known_items))
