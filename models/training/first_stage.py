"""The first stage on past requests: factors fitted on the events before them, and the candidates that these give.

The same pure functions as in serving, fed from rows of a `TrainingData` instead of the online store.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from configs.decay import STRENGTH_DIGITS, TRENDING_WINDOW, Window
from configs.event_types import Weighting
from data.matrix import pairs_to_csr
from models.factors.als import AlsFactors, AlsParameters, fit_als
from models.factors.fold_in import FoldIn
from models.ranking.features import FEATURES, latest_distinct
from models.ranking.item_relations import ItemRelations, fit_relations
from models.ranking.item_table import ItemTable, item_statistics, item_table
from models.relations.more_sources import LATEST, NO_MORE, MoreSources, Nearest, more_candidates
from models.relations.near_counts import CELLS
from models.relations.near_lists import nearest
from models.relations.past_events import NO_PAST
from models.retrieval.candidates import FURTHER, Source
from models.retrieval.whole_catalogue import top_k
from models.sequence.encoder import SequenceEncoder
from models.training.event_walks import NearEvents, trending_walk
from models.training.item_facts import ItemFacts
from models.training.past_requests import Requests, excluded_items
from models.training.stage_histories import kept_rows, near_recent, past_events, request_interest, request_vectors
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
        trained_on: rows, rising, of the events that it was fitted on; None where that is not known.
        near_cells: the most cells of near counts.
        new_source: the source of candidates that are not `in_model`.
        new_come: whether items that are not `in_model` come by their first events (near relations), as in serving;
            else only those of `known_items` do.
        fold_in, sequence: one of them turns a history into a vector, the other is None.
    """

    data: TrainingData
    weighting: Weighting
    weights: sp.csr_matrix
    known_items: np.ndarray
    factors: AlsFactors
    fold_in: FoldIn | None
    relations: ItemRelations | None
    table: ItemTable
    memberships: sp.csr_matrix
    in_model: np.ndarray
    history_limit: int = HISTORY_LIMIT
    user_values: np.ndarray | None = None
    trending_window: Window = TRENDING_WINDOW
    repeats: bool = False
    trained_on: np.ndarray | None = None
    near_cells: int = CELLS
    new_source: Source = Source.CONTENT
    new_come: bool = False
    sequence: SequenceEncoder | None = None

    @cached_property
    def near(self) -> NearEvents:
        """What near counts are made of."""
        return NearEvents(self.data, self.near_cells, self.trained_on)

    @property
    def n_features(self) -> int:
        """Columns of the features of a candidate."""
        return len(FEATURES) + (0 if self.table.attributes is None else len(self.table.attributes.features))


@dataclass(frozen=True)
class CandidateTable:
    """Of B requests: items (B, k) int64, best first, -1 padded; scores (B, k) float32, NaN in the padding.

    Attributes:
        sources: (B, k) uint8, the `Source` of each; None where nobody asks.
        near: whether near relations are told to the ranker.
    """

    items: np.ndarray
    scores: np.ndarray
    sources: np.ndarray | None = None
    near: bool = False


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
    near_cells: int = CELLS,
) -> FirstStage:
    """Fit ALS, the relations and the item table on the rows `train` alone.

    Raises:
        ValueError: no event among them speaks for any item.
    """
    part = data.rows(np.sort(train))
    interest = part.interest(weighting)
    weights = pairs_to_csr(interest.users, interest.items, interest.weights, len(data.users), len(data.items))
    del interest
    if not weights.nnz:
        raise ValueError("no event speaks for any item")
    counts = np.bincount(weights.indices, minlength=len(data.items))
    positive = np.flatnonzero(data.types.confidence(part.codes, part.values, weighting) > 0)
    statistics = item_statistics(counts, part.item, part.times_ms, part.values, catalogue.year)
    relations = fit_relations(weights, part.user[positive], part.item[positive], part.times_ms[positive])
    in_model, repeats = np.bincount(part.item, minlength=len(data.items)) > 0, comes_again(part)
    del part, positive  # they take as much memory as the fit that follows
    factors = fit_als(weights, parameters, seed, threads)
    active = np.diff(weights.indptr) > 0
    mean_user = factors.user_factors[active].mean(axis=0)
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
        relations=relations,
        table=item_table(
            factors.item_factors,
            statistics,
            catalogue.categories,
            attributes=catalogue.attribute_table(catalogue.used),
        ),
        memberships=catalogue.memberships,
        in_model=in_model,
        history_limit=history_limit,
        user_values=None if catalogue.attributes is None else catalogue.attributes.user_values,
        trending_window=trending_window,
        repeats=repeats,
        trained_on=np.sort(train),
        near_cells=near_cells,
        new_come=True,
    )


def comes_again(data: TrainingData) -> bool:
    """Whether a `FEWEST_REPEATS` share of the events is on an item that the same user had at another time before (or
    had at all, where times say nothing), and that a list may show again."""
    speaks = data.types.confidence(data.codes, data.values, "preference") > 0
    speaks &= ~data.types.seen_codes[data.codes]
    pairs = data.user[speaks] * len(data.items) + data.item[speaks]
    order = np.lexsort((data.times_ms[speaks], pairs))
    pairs, times_ms = pairs[order], data.times_ms[speaks][order]
    again = (pairs[1:] == pairs[:-1]) & ((times_ms[1:] > times_ms[:-1]) | (not data.time_trusted))
    return bool(again.sum() >= FEWEST_REPEATS * max(len(data), 1))


@dataclass(frozen=True)
class FirstCandidates:
    """What the factors and popularity give B requests, and what the further sources begin with: all of it is the same
    whichever of these are on.

    Attributes:
        table: of width k + trending.
        vectors: (B, f) float32, the folded-in histories.
        known: (B,) bool, whether there is any history.
        speaking: for each request, rising, the items of its history that speak for interest.
        excluded: (B, n_items) bool, what serving leaves out.
    """

    table: CandidateTable
    vectors: np.ndarray
    known: np.ndarray
    speaking: list[np.ndarray]
    excluded: sp.csr_matrix


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
    return further_candidates(stage, requests, first_candidates(stage, requests, k, trending), more)


def first_candidates(stage: FirstStage, requests: Requests, k: int, trending: int = 0) -> FirstCandidates:
    """The candidates of `find_candidates` without those of the further sources."""
    items, weights = request_interest(stage, requests)
    with threadpool_limits(1, "blas"):  # many small systems: threads would only wait for one another
        vectors, known = request_vectors(stage, requests, items, weights)
    n_items, n = len(stage.known_items), len(requests)
    own = Source.FOLD_IN if stage.sequence is None else Source.SEQUENCE
    width = k + trending
    sources = np.full((n, width), Source.TRENDING, np.uint8)
    found = CandidateTable(np.full((n, width), -1, np.int64), np.full((n, width), np.nan, np.float32), sources)
    if trending:
        strength = trending_walk(stage, requests)
        ids = [str(item_id) for item_id in stage.data.items.ids.tolist()]
        by_id = np.array(sorted(range(n_items), key=ids.__getitem__), np.int64)
    excluded = excluded_items(stage.data, requests.rows, stage.weighting)
    order = np.argsort(requests.visible, kind="stable")  # the walk goes forward only
    step = max(1, min(1024, _CELLS // n_items))
    for start in range(0, n, step):
        part = order[start : start + step]
        block = excluded[part]
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
        found.items[part] = best
        sources[part, :k] = np.where(stage.in_model[best[:, :k]], own, stage.new_source)
        # One by one, as in serving: the last bits depend on how they are summed.
        for row, place in enumerate(part.tolist()):
            listed = best[row] >= 0
            found.scores[place, listed] = stage.factors.item_factors[best[row, listed]] @ vectors[place]
    speaking = [mine[weight > 0] for mine, weight in zip(items, weights, strict=True)]
    return FirstCandidates(found, vectors, known, speaking, excluded)


def further_candidates(
    stage: FirstStage, requests: Requests, first: FirstCandidates, more: MoreSources
) -> CandidateTable:
    """The first candidates, and behind them those of the further sources."""
    if not more.total:
        return first.table
    n, width = first.table.items.shape
    shape = n, width + more.total
    items, scores = np.full(shape, -1, np.int64), np.full(shape, np.nan, np.float32)
    sources = np.zeros(shape, np.uint8)
    items[:, :width], scores[:, :width] = first.table.items, first.table.scores
    assert first.table.sources is not None
    sources[:, :width] = first.table.sources
    walk, latest = (stage.near.walk(requests), near_recent(stage, requests)) if more.near else (None, None)
    shut, factors = ~(stage.known_items | (stage.new_come & ~stage.in_model)), stage.factors.item_factors
    for place in np.argsort(requests.visible, kind="stable").tolist():  # the walk goes forward only
        if not first.known[place]:
            continue
        left_out = first.excluded.indices[slice(*first.excluded.indptr[place : place + 2])]
        listed = first.table.items[place]
        out = np.concatenate([left_out, listed[listed >= 0]])
        near = None
        if walk is not None and latest is not None:
            near = partial(nearest, walk.advance(int(requests.visible[place])), latest[place])
        mine, from_where = _further(stage, requests.rows[place], first.speaking[place], out, shut, more, near)
        there = slice(width, width + len(mine))
        items[place, there], sources[place, there] = mine, from_where
        scores[place, there] = factors[mine] @ first.vectors[place]
    return CandidateTable(items, scores, sources, more.near > 0)


def _further(
    stage: FirstStage,
    rows: np.ndarray,
    speaking: np.ndarray,
    out: np.ndarray,
    shut: np.ndarray,
    more: MoreSources,
    near: Nearest | None,
) -> tuple[np.ndarray, np.ndarray]:
    """What the further sources give for one history, in their order, and the `Source` of each.

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
        asked = lambda some: ~shut[some], near, lambda some: ~stage.in_model[some]
        found = list(more_candidates(more, stage.relations, recent, past, *asked))
        sources = np.repeat([FURTHER[name] for name, _ in found], [len(items) for _, items in found])
        return np.concatenate([items for _, items in found]), sources.astype(np.uint8)
    finally:
        shut[opened] = False


def _without(scores: np.ndarray, *cells: Any) -> np.ndarray:
    """The scores, with these cells closed in place."""
    for some in cells:
        scores[some] = -np.inf
    return scores
