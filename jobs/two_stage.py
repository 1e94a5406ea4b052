"""Both stages on past requests: candidates from the factors, their features, the ranker's order.

The same pure functions as in serving, fed from rows of a `TrainingData` instead of the online store.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scipy.sparse as sp

from configs.event_types import Weighting
from data.matrix import pairs_to_csr, pairs_to_mask
from features.store import REFUSAL_AFFINITY
from jobs.requests import Requests
from jobs.training_data import TrainingData
from models.als import AlsFactors, AlsParameters, fit_als
from models.fold_in import FoldIn
from models.interest import aggregate_interest
from models.item_relations import ItemRelations, fit_relations
from models.item_table import ItemTable, item_statistics, item_table
from models.point_in_time import DecayedPopularity, activity, category_affinity
from models.ranker import Ranker
from models.ranking_features import (
    CANDIDATE_FEATURES,
    FEATURES,
    RequestBatch,
    assemble,
    candidate_features,
    latest_distinct,
    user_features,
)
from models.recommend_matrix import top_k

_BLOCK = 256  # requests whose features are computed at once


@dataclass(frozen=True)
class Catalogue:
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
class Candidates:
    """Of B requests: items (B, k) int64, best first, -1 padded; scores (B, k) float32, NaN in the padding."""

    items: np.ndarray
    scores: np.ndarray


def read_catalogue(data: TrainingData, items: pd.DataFrame | None) -> Catalogue:
    """Align a data set's items with the vocabulary; None where there is no catalogue."""
    n_items = len(data.items)
    year = np.full(n_items, np.nan, np.float32)
    categories: dict[str, np.ndarray] = {}
    if items is None:
        return Catalogue(year, categories)
    position = data.items.encode(items["item_id"])
    listed = position >= 0
    year[position[listed]] = items["year"].to_numpy(np.float32, na_value=np.nan)[listed]
    for place, names in zip(position.tolist(), items["categories"], strict=True):
        if place >= 0:
            for name in names:
                categories.setdefault(name, np.zeros(n_items, bool))[place] = True
    return Catalogue(year, categories)


def fit_first_stage(
    data: TrainingData,
    train: np.ndarray,
    weighting: Weighting,
    parameters: AlsParameters,
    catalogue: Catalogue,
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
) -> Candidates:
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
    result = Candidates(
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


def request_features(
    stage: FirstStage, requests: Requests, candidates: Candidates
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Features block by block: (which requests, (N, len(FEATURES)) float32, lengths of the lists)."""
    data = stage.data
    preference = data.types.confidence(data.codes, data.values, "preference")
    refused = data.types.is_refusal(data.codes, data.values)
    popularity_of = popularity_walk(stage, requests)
    shares = np.empty((2, *candidates.items.shape), np.float32)
    for place in np.argsort(requests.visible, kind="stable").tolist():
        row = np.maximum(candidates.items[place], 0)
        shares[:, place] = popularity_of.after(int(requests.visible[place]))[:, row]
    amounts = np.where(refused, REFUSAL_AFFINITY, preference)
    for start in range(0, len(requests), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(requests)))
        rows = requests.rows[part]
        at_ms = requests.at_ms[part]
        own, weights = request_interest(stage, replace(requests, rows=rows))
        recent = np.stack(
            [
                latest_distinct(data.item[mine], among=items[weight > 0])
                for mine, items, weight in zip(rows, own, weights, strict=True)
            ]
        )
        times = [data.times_ms[mine].astype(np.float64) for mine in rows]
        affinity = np.stack(
            [
                category_affinity(amounts[mine], time, stage.memberships[data.item[mine]], at)
                for mine, time, at in zip(rows, times, at_ms.tolist(), strict=True)
            ]
        ).astype(np.float32)
        batch = RequestBatch(
            candidates=candidates.items[part],
            scores=candidates.scores[part],
            recent=recent,
            histories=[items[weight > 0] for items, weight in zip(own, weights, strict=True)],
            at_ms=at_ms,
            affinity=affinity,
            popularity=shares[:, part],
        )
        block = candidate_features(stage.table, stage.relations, batch)
        present = batch.candidates >= 0
        users = user_features(
            np.array([len(mine) for mine in rows]),
            np.stack([activity(time, at) for time, at in zip(times, at_ms.tolist(), strict=True)]),
            np.array([time[-1] if len(time) else np.nan for time in times]),
            at_ms,
            requests.devices[part] if requests.devices is not None else [None] * len(rows),
        )
        lengths = present.sum(axis=1)
        yield part, assemble(block[present].reshape(-1, len(CANDIDATE_FEATURES)), users, lengths), lengths


def rank_scores(stage: FirstStage, ranker: Ranker, requests: Requests, candidates: Candidates) -> np.ndarray:
    """(B, k) float32: the ranker's score of each candidate, -inf in the padding."""
    scores = np.full(candidates.items.shape, -np.inf, np.float32)
    for part, features, _ in request_features(stage, requests, candidates):
        scores[part][candidates.items[part] >= 0] = ranker.score(features)
    return scores


def rerank(stage: FirstStage, ranker: Ranker, requests: Requests, candidates: Candidates, k: int) -> np.ndarray:
    """(B, k) int64: the k candidates that the ranker likes best, -1 padded; ties in the order of retrieval."""
    scores = rank_scores(stage, ranker, requests, candidates)
    best = np.take_along_axis(candidates.items, np.argsort(-scores, axis=1, kind="stable")[:, :k], axis=1)
    return np.pad(best, ((0, 0), (0, k - best.shape[1])), constant_values=-1)


@dataclass(frozen=True)
class RankerRows:
    """Training rows: features (n, len(FEATURES)) float32, relevant (n,) bool, lengths (lists,).

    Of lists that were shown also the place of each item, (n,) int from 0, and how much it counts, (n,) float64.
    """

    features: np.ndarray
    relevant: np.ndarray
    lengths: np.ndarray
    place: np.ndarray | None = None
    weights: np.ndarray | None = None


def ranker_rows(stage: FirstStage, requests: Requests, candidates: Candidates) -> RankerRows:
    """Lists that hold something relevant; the others teach nothing."""
    n_items = len(stage.known_items)
    truth = requests.relevant
    wanted = np.repeat(np.arange(len(requests), dtype=np.int64), np.diff(truth.indptr)) * n_items + truth.indices
    offered = np.arange(len(requests), dtype=np.int64)[:, None] * n_items + candidates.items
    hit = np.isin(offered, wanted) & (candidates.items >= 0)
    useful = np.flatnonzero(hit.any(axis=1) & ~(hit == (candidates.items >= 0)).all(axis=1))
    hit, items = hit[useful], candidates.items[useful]
    kept = Candidates(items, candidates.scores[useful])
    parts = [features for _, features, _ in request_features(stage, requests.some(useful), kept)]
    features = np.concatenate([np.empty((0, len(FEATURES)), np.float32), *parts])
    return RankerRows(features, hit[items >= 0], (items >= 0).sum(axis=1))
