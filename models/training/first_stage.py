"""The first stage on past requests: factors fitted on the events before them, and the candidates that these give.

The same pure functions as in serving, fed from rows of a `TrainingData` instead of the online store.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from configs.decay import ACTIVITY_HALF_LIVES_MS, POPULARITY_HALF_LIVES_MS, STRENGTH_DIGITS, TRENDING_WINDOW, Window
from configs.event_types import Weighting
from data.matrix import pairs_to_csr
from models.factors.als import AlsFactors, AlsParameters, fit_als
from models.factors.fold_in import FoldIn
from models.factors.interest import aggregate_interest
from models.ranking.features import FEATURES, latest_distinct
from models.ranking.item_relations import ItemRelations, fit_relations
from models.ranking.item_table import ItemTable, item_statistics, item_table
from models.ranking.once_per_user import added_popularity
from models.ranking.point_in_time import DecayedPopularity, TrendingStrength
from models.relations.more_sources import LATEST, NO_MORE, MoreSources, more_candidates
from models.relations.past_events import NO_PAST, PastEvents
from models.retrieval.whole_catalogue import top_k
from models.training.item_facts import ItemFacts
from models.training.past_requests import Requests, excluded_items
from models.training.training_data import TrainingData

HISTORY_LIMIT = 500  # `store.history_limit`, where nothing else is said
FEWEST_REPEATS = 0.01
_CELLS = 4_000_000  # scores held at once: 16 MB


@dataclass(frozen=True)
class FirstStage:
    """A fitted model without a ranker.

    Attributes:
        weights: (n_users, n_items) what it was fitted on.
        known_items: (n_items,) bool, items with a positive weight.
        in_model: (n_items,) bool, items of which the model has seen any event; serving knows no others by position.
        history_limit: how many of a user's latest events the store keeps for the model.
        user_values: (n_users, u) float32, the users' attributes; None where none are read.
        trending_window: the half-life of the trending candidates.
        repeats: whether what a user had before is told to the ranker.
    """

    data: TrainingData
    weighting: Weighting
    weights: sp.csr_matrix
    known_items: np.ndarray
    factors: AlsFactors
    fold_in: FoldIn
    relations: ItemRelations | None
    table: ItemTable
    memberships: sp.csr_matrix
    in_model: np.ndarray
    history_limit: int = HISTORY_LIMIT
    user_values: np.ndarray | None = None
    trending_window: Window = TRENDING_WINDOW
    repeats: bool = False

    @property
    def n_features(self) -> int:
        """Columns of the features of a candidate."""
        return len(FEATURES) + (0 if self.table.attributes is None else self.table.attributes.width)


@dataclass(frozen=True)
class CandidateTable:
    """Of B requests: items (B, k) int64, best first, -1 padded; scores (B, k) float32, NaN in the padding."""

    items: np.ndarray
    scores: np.ndarray


def fit_first_stage(
    data: TrainingData,
    train: np.ndarray,
    weighting: Weighting,
    parameters: AlsParameters,
    catalogue: ItemFacts,
    seed: int,
    threads: int,
    prior_weight: float = 0.5,
    history_limit: int = HISTORY_LIMIT,
    trending_window: Window = TRENDING_WINDOW,
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
        table=item_table(
            factors.item_factors,
            statistics,
            catalogue.categories,
            attributes=catalogue.attribute_table(catalogue.used),
        ),
        memberships=catalogue.memberships,
        in_model=np.bincount(part.item, minlength=len(data.items)) > 0,
        history_limit=history_limit,
        user_values=None if catalogue.attributes is None else catalogue.attributes.user_values,
        trending_window=trending_window,
        repeats=comes_again(part),
    )


def comes_again(data: TrainingData) -> bool:
    """Whether a `FEWEST_REPEATS` share of the events is on an item that the same user had at another time before, and
    that a list may show again."""
    speaks = data.types.confidence(data.codes, data.values, "preference") > 0
    speaks &= ~data.types.seen_codes[data.codes]
    pairs = data.user[speaks] * len(data.items) + data.item[speaks]
    order = np.lexsort((data.times_ms[speaks], pairs))
    pairs, times_ms = pairs[order], data.times_ms[speaks][order]
    again = (pairs[1:] == pairs[:-1]) & (times_ms[1:] > times_ms[:-1])
    return bool(again.sum() >= FEWEST_REPEATS * max(len(data), 1))


def request_interest(stage: FirstStage, requests: Requests) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Items (m,) and weights (m,) of each request's history, as far as the store keeps it and the model knows it; an
    item of weight 0 was met, but says nothing."""
    data = stage.data
    rows = [kept_rows(stage, mine) for mine in requests.rows]
    flat = np.concatenate([np.empty(0, np.int64), *rows])
    number = np.repeat(np.arange(len(rows)), [len(mine) for mine in rows])
    known = stage.in_model[data.item[flat]]
    flat, number = flat[known], number[known]
    found = aggregate_interest(
        number,
        data.item[flat],
        data.times_ms[flat],
        data.codes[flat],
        data.values[flat],
        data.types,
        stage.weighting,
    )
    edges = np.searchsorted(found.users, np.arange(len(rows) + 1)).tolist()
    parts = [slice(*ends) for ends in pairwise(edges)]
    return [found.items[part] for part in parts], [found.weights[part] for part in parts]


def kept_rows(stage: FirstStage, rows: np.ndarray) -> np.ndarray:
    """Of a history's rows those that the store keeps for the model: the latest."""
    return rows[-stage.history_limit :]


def past_events(stage: FirstStage, rows: np.ndarray) -> PastEvents:
    """What the user of a history had before, as far as the store keeps it and the model knows it.

    Args:
        rows: of the history, in store order.
    """
    data, rows = stage.data, kept_rows(stage, rows)
    amounts = data.types.confidence(data.codes[rows], data.values[rows], "preference").astype(np.float64)
    kept = (amounts > 0) & stage.in_model[data.item[rows]]
    return PastEvents(data.item[rows][kept], amounts[kept], data.times_ms[rows][kept].astype(np.float64))


def find_candidates(
    stage: FirstStage, requests: Requests, k: int, trending: int = 0, more: MoreSources = NO_MORE
) -> CandidateTable:
    """The k best items by the folded-in history, followed by what is popular just then and not among them, and by what
    the further sources give.

    What serving leaves out is left out. Users without history get none.

    Args:
        trending: how many items are added by popularity that decays with the half-life of the stage's window, with
            their own scores. Factors know little of what came out last week, and that is what many users come for.
            Equal popularity goes by the id, as it does in serving.
        more: how many items the further sources add.
    """
    items, weights = request_interest(stage, requests)
    with threadpool_limits(1, "blas"):  # many small systems: threads would only wait for one another
        vectors, known = stage.fold_in.solve(items, weights)
    n_items, n = len(stage.known_items), len(requests)
    width = k + trending + more.total
    found = CandidateTable(np.full((n, width), -1, np.int64), np.full((n, width), np.nan, np.float32))
    shut = ~stage.known_items
    strength = _trending_walk(stage, requests)
    ids = [str(item_id) for item_id in stage.data.items.ids.tolist()]
    by_id = np.array(sorted(range(n_items), key=ids.__getitem__), np.int64)
    order = np.argsort(requests.visible, kind="stable")  # the walk goes forward only
    step = max(1, min(1024, _CELLS // n_items))
    for start in range(0, n, step):
        part = order[start : start + step]
        block = excluded_items(stage.data, [requests.rows[place] for place in part.tolist()], stage.weighting)
        left_out = np.repeat(np.arange(len(part)), np.diff(block.indptr)), block.indices
        closed = (slice(None), ~stage.known_items), ~known[part], left_out
        scores = vectors[part] @ stage.factors.item_factors.T
        best = top_k(_without(scores, *closed), k)
        if trending:
            heat = np.empty((len(part), n_items))
            for row, place in enumerate(part.tolist()):
                np.round(strength.after(int(requests.visible[place])), STRENGTH_DIGITS, out=heat[row])
            rows = np.repeat(np.arange(len(part)), k)
            there = rows[best.ravel() >= 0], best[best >= 0]
            hot = top_k(_without(heat, *closed, there)[:, by_id], trending)
            best = np.concatenate([best, np.where(hot >= 0, by_id[hot], -1)], axis=1)
        if more.total:
            further = np.full((len(part), more.total), -1, np.int64)
            for row in np.flatnonzero(known[part]).tolist():
                own = items[part[row]][weights[part[row]] > 0]
                out = np.concatenate([block.indices[block.indptr[row] : block.indptr[row + 1]], best[row]])
                mine = _further(stage, requests.rows[part[row]], own, out[out >= 0], shut, more)
                further[row, : len(mine)] = mine
            best = np.concatenate([best, further], axis=1)
        found.items[part] = best
        found.scores[part] = np.where(best >= 0, np.take_along_axis(scores, np.maximum(best, 0), axis=1), np.nan)
    return found


def _further(
    stage: FirstStage, rows: np.ndarray, speaking: np.ndarray, out: np.ndarray, shut: np.ndarray, more: MoreSources
) -> np.ndarray:
    """What the further sources give for one history, in their order.

    Args:
        speaking: rising, the items of the history that speak for interest.
        out: items that are left out or are candidates already.
        shut: (n_items,) bool, items that nobody is shown; left as it was.
    """
    opened = out[~shut[out]]
    shut[opened] = True
    try:
        recent = latest_distinct(stage.data.item[kept_rows(stage, rows)], LATEST, speaking)
        past = past_events(stage, rows) if more.repeats else NO_PAST
        found = [items for _, items in more_candidates(more, stage.relations, recent, past, lambda some: ~shut[some])]
        return np.concatenate(found)
    finally:
        shut[opened] = False


def _without(scores: np.ndarray, *cells: Any) -> np.ndarray:
    """The scores, with these cells closed in place."""
    for some in cells:
        scores[some] = -np.inf
    return scores


def popularity_walk(stage: FirstStage, requests: Requests) -> DecayedPopularity:
    """Decayed popularity over the events that the requests may know of; no user counts twice for an item."""
    item, times_ms, added = _counted(stage, requests, POPULARITY_HALF_LIVES_MS)
    return DecayedPopularity(item, times_ms, added, len(stage.known_items))


def _trending_walk(stage: FirstStage, requests: Requests) -> TrendingStrength:
    half_life_ms = ACTIVITY_HALF_LIVES_MS[stage.trending_window]
    item, times_ms, added = _counted(stage, requests, (half_life_ms,))
    return TrendingStrength(item, times_ms, added[0], len(stage.known_items), half_life_ms)


def _counted(
    stage: FirstStage, requests: Requests, half_lives_ms: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items (n,) and times (n,) of the events that the requests may know of, and (h, n) what each adds by half-life."""
    data, counted = stage.data, requests.popularity_rows
    weights = data.types.confidence(data.codes[counted], data.values[counted], "preference")
    item, times_ms = data.item[counted], data.times_ms[counted]
    half_lives = np.array(half_lives_ms, np.float64)
    added = added_popularity(data.user[counted], item, times_ms, weights, half_lives, stage.history_limit)
    return item, times_ms, added
