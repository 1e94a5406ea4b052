"""A second stage from random inner splits: for data whose held-out part is no later than the rest (P1, plain CSV).

The inner splits hold out a tenth, so that histories and factors are nearly as dense as those that are served; trees
trained on sparser ones gain nothing. Of few users several splits are taken, since one gives few lists. The last one
only judges: where the second stage wins nothing there, it is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.matrix import pairs_to_mask
from data.splits import inner_split
from models.batch_only.list_ranker import ListRanker, ListRankerParameters, fit_list_ranker
from models.batch_only.side_scores import SIDE_FEATURES, SideScores
from models.evaluation.gate import per_user
from models.evaluation.metrics import Interval, bootstrap_interval, user_metrics
from models.ranking.features import FEATURES
from models.training.first_stage import CandidateTable, FirstStage, find_candidates, fit_first_stage
from models.training.item_facts import ItemFacts
from models.training.past_requests import Requests, user_requests
from models.training.ranker_lists import request_features
from models.training.ranker_windows import Recipe
from models.training.training_data import TrainingData

K = 10
LISTS = 8000  # that are learned from, as far as the splits give so many
_LISTS_A_SPLIT = 4000  # at most
_SPLITS = 8  # to learn from, at most; each costs a fit of all models
_FIRST_STAGE = FEATURES.index("retrieval_standard")


@dataclass(frozen=True)
class ListStage:
    """A list ranker, from how many lists it learned, and what it won on the judging split (NDCG@10, over users)."""

    ranker: ListRanker
    lists: int
    gain: Interval


@dataclass(frozen=True)
class _Split:
    """One inner split with its candidates. `side` is fitted on the same rows as `stage`."""

    stage: FirstStage
    side: SideScores
    requests: Requests
    candidates: CandidateTable


def side_scores(stage: FirstStage, train: np.ndarray, recipe: Recipe, seed: int, threads: int) -> SideScores:
    """The other models, on the rows that `stage` was fitted on."""
    data = stage.data
    rows = np.sort(train)
    rows = rows[data.types.confidence(data.codes[rows], data.values[rows], stage.weighting) > 0]
    return SideScores(
        stage.weights, recipe.parameters, data.user[rows], data.item[rows], data.times_ms[rows], seed, threads
    )


def learn_from_splits(
    data: TrainingData,
    train: np.ndarray,
    catalogue: ItemFacts,
    recipe: Recipe,
    seed: int = 0,
    threads: int = 0,
    parameters: ListRankerParameters | None = None,
) -> ListStage | None:
    """Learn on several inner splits of the rows `train`, judge on one more.

    Args:
        data: in store order (`models.training.past_requests.in_store_order`).

    Returns:
        None where there is nothing to learn from, or the second stage wins nothing.
    """
    splits = learning_splits(len(np.unique(data.user[train])))
    features, relevant, lists = [], [], 0
    for number in range(1, splits + 1):
        split = _inner(data, train, catalogue, recipe, seed, number, threads)
        if split is None:
            continue
        hit = _hits(split)
        useful = np.flatnonzero(hit.any(axis=1))
        present = split.candidates.items[useful] >= 0
        chosen = CandidateTable(split.candidates.items[useful], split.candidates.scores[useful])
        blocks = [block for _, block in _features(split.stage, split.side, split.requests.some(useful), chosen)]
        features += blocks
        relevant.append(hit[useful][present])
        lists += len(useful)
    if not features:
        return None
    try:
        ranker = fit_list_ranker(
            np.concatenate(features),
            np.concatenate(relevant),
            (*FEATURES, *SIDE_FEATURES),
            parameters or ListRankerParameters(),
            seed,
            threads=1,
        )
    except ValueError:
        return None
    judge = _inner(data, train, catalogue, recipe, seed, splits + 1, threads)
    if judge is None:
        return None
    ranked = rank_lists(judge.stage, judge.side, ranker, judge.requests, judge.candidates, K)
    with_it = user_metrics(ranked, judge.requests.relevant).ndcg
    without = user_metrics(judge.candidates.items[:, :K], judge.requests.relevant).ndcg
    gain = bootstrap_interval(per_user(judge.requests.user, with_it - without), seed)
    return ListStage(ranker, lists, gain) if gain.mean > 0 else None


def learning_splits(n_users: int) -> int:
    """How many splits to learn from, so that about `LISTS` lists come together."""
    return min(_SPLITS, -(-LISTS // max(1, min(n_users, _LISTS_A_SPLIT))))


def gain_text(gain: Interval) -> str:
    """The gain with its interval, as a person reads it."""
    return f"NDCG@10 {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"


def rank_lists(
    stage: FirstStage, side: SideScores, ranker: ListRanker, requests: Requests, candidates: CandidateTable, k: int
) -> np.ndarray:
    """(B, k) int64: the k candidates that the ranker likes best, -1 padded; ties in the order of the first stage."""
    result = np.full((len(requests), k), -1, np.int64)
    for part, features in _features(stage, side, requests, candidates):
        items = candidates.items[part]
        scores = np.full(items.shape, -np.inf, np.float32)
        scores[items >= 0] = ranker.score(features, features[:, _FIRST_STAGE])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(items, order, axis=1)
        result[part, : best.shape[1]] = best
    return result


def _inner(
    data: TrainingData, train: np.ndarray, catalogue: ItemFacts, recipe: Recipe, seed: int, number: int, threads: int
) -> _Split | None:
    """The inner split of this number; None where it asks for nothing."""
    train = np.sort(train)
    split = inner_split(data.user[train], seed + number)
    inner, held = train[split.train], train[split.test]
    stage = fit_first_stage(
        data, inner, recipe.weighting, recipe.parameters, catalogue, seed, threads, recipe.prior_weight
    )
    speaks = data.types.confidence(data.codes[held], data.values[held], recipe.weighting) > 0
    right = held[speaks & stage.known_items[data.item[held]]]
    relevant = pairs_to_mask(data.user[right], data.item[right], len(data.users), len(data.items))
    requests = user_requests(data, inner, relevant)
    if len(requests) > _LISTS_A_SPLIT:
        chosen = np.random.default_rng(number).choice(len(requests), _LISTS_A_SPLIT, replace=False)
        requests = requests.some(np.sort(chosen))
    if not len(requests):
        return None
    candidates = find_candidates(stage, requests, recipe.candidates, recipe.trending)
    return _Split(stage, side_scores(stage, inner, recipe, seed, threads), requests, candidates)


def _hits(split: _Split) -> np.ndarray:
    """(B, k) bool: the candidate was held out."""
    items = split.candidates.items
    rows = np.arange(len(items))[:, None]
    return (np.asarray(split.requests.relevant[rows, np.maximum(items, 0)].todense()) > 0) & (items >= 0)


def _features(
    stage: FirstStage, side: SideScores, requests: Requests, candidates: CandidateTable
) -> Iterator[tuple[slice, np.ndarray]]:
    """Block by block: (which requests, (N, len(FEATURES) + len(SIDE_FEATURES)) float32)."""
    histories = [stage.data.item[rows] for rows in requests.rows]
    for part, features, _ in request_features(stage, requests, candidates):
        items = candidates.items[part]
        more = side.of(requests.user[part], items, histories[part])
        yield part, np.concatenate([features, more[items >= 0]], axis=1)
