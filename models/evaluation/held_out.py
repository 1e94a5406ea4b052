"""How good a set of parameters is on a held-out part of the data.

Relevant to a user is a held-out pair of positive weight, on an item that the training part knows, which serving would
not leave out. Users without a training history are left out: they get popularity, whatever the parameters are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from configs.event_types import Weighting
from data.matrix import pairs_to_csr, pairs_to_mask
from data.splits import Split
from models.evaluation.metrics import bootstrap_interval, coverage, user_metrics
from models.factors.als import AlsParameters, fit_als, fit_als_in_steps
from models.factors.fold_in import FoldIn
from models.retrieval.whole_catalogue import recommend_factors, recommend_scores
from models.training.past_requests import excluded_items, rows_by_user
from models.training.training_data import TrainingData

K = 10
MOST_JUDGED = 10_000  # a random choice of so many users, where there are more: their interval is narrow enough
_FEWEST_JUDGED = 1_000
_CELLS = 1_000_000_000  # scores that a judgement may take: with more than 100,000 items fewer users are judged
_REPORTED = {
    "map_at_10": "map_at_k",  # the sum over |relevant|, which is the published benchmark's definition
    "map_k_at_10": "map_k_at_k",  # the sum over min(|relevant|, 10)
    "ndcg_at_10": "ndcg",
    "precision_at_10": "precision",
    "recall_at_10": "recall",
    "hit_rate_at_10": "hit_rate",
}


@dataclass(frozen=True)
class Fold:
    """One split, ready to be trained and judged on.

    Attributes:
        weights: (n_users, n_items) the training part's positive weights.
        seen: (n_users, n_items) what serving leaves out after the training part.
        relevant: (n_users, n_items) held out.
        known_items: (n_items,) bool, items with a positive weight in the training part.
        judged: (m,) users with something relevant, at most `MOST_JUDGED`, rising.
    """

    weights: sp.csr_matrix
    seen: sp.csr_matrix
    relevant: sp.csr_matrix
    known_items: np.ndarray
    judged: np.ndarray


def build_fold(data: TrainingData, split: Split, weighting: Weighting) -> Fold:
    """Train and test part of `data` as matrices."""
    n_users, n_items = len(data.users), len(data.items)
    train, test = data.rows(split.train).interest(weighting), data.rows(split.test).interest(weighting)
    weights = pairs_to_csr(train.users, train.items, train.weights, n_users, n_items)
    histories = rows_by_user(data, np.sort(split.train), n_users)
    seen = excluded_items(data, histories, weighting)
    known_items = np.bincount(weights.indices, minlength=n_items) > 0
    has_history = np.diff(weights.indptr) > 0
    out = np.repeat(np.arange(n_users), np.diff(seen.indptr)) * n_items + seen.indices
    met = np.isin(test.users * n_items + test.items, out)
    use = (test.weights > 0) & known_items[test.items] & has_history[test.users] & ~met
    relevant = pairs_to_mask(test.users[use], test.items[use], n_users, n_items)
    judged = np.flatnonzero(np.diff(relevant.indptr))
    most = max(min(MOST_JUDGED, _CELLS // n_items), min(MOST_JUDGED, _FEWEST_JUDGED))
    if len(judged) > most:
        judged = np.sort(np.random.default_rng(len(judged)).choice(judged, most, replace=False))
    return Fold(weights, seen, relevant, known_items, judged)


def mean_ndcg(fold: Fold, parameters: AlsParameters, seed: int, threads: int = 1) -> float:
    """NDCG@10 of a fit on the fold, averaged over the judged users; NaN when there are none."""
    if len(fold.judged) == 0:
        return float("nan")
    (value,) = ndcg_by_iteration(fold, parameters, seed, [parameters.iterations], threads)
    return value


def ndcg_by_iteration(
    fold: Fold, parameters: AlsParameters, seed: int, moments: Sequence[int], threads: int = 1
) -> Iterator[float]:
    """`mean_ndcg` after each of these numbers of iterations of one fit; needs somebody to judge on."""
    for factors in fit_als_in_steps(fold.weights, parameters, seed, moments, threads):
        recommended = recommend_factors(
            factors.user_factors[fold.judged], factors.item_factors, fold.seen[fold.judged], K, fold.known_items
        )
        yield float(user_metrics(recommended, fold.relevant[fold.judged]).ndcg.mean())


def evaluate(
    fold: Fold, parameters: AlsParameters, prior_weight: float, seed: int, threads: int = 1
) -> dict[str, float]:
    """All metrics of a fit on the fold, with 95 % bootstrap intervals, and popularity on the same users beside it.

    Users are served as they are online: their vector is folded in from their history.

    Returns:
        name -> value: `ndcg_at_10`, `ndcg_at_10_low`, `ndcg_at_10_high`, `popularity_ndcg_at_10`, ..., `coverage`,
        `evaluated_users`; nothing but `evaluated_users` = 0 when there is nobody to judge on.
    """
    if len(fold.judged) == 0:
        return {"evaluated_users": 0.0}
    factors = fit_als(fold.weights, parameters, seed, threads)
    history = fold.weights[fold.judged]
    fold_in = FoldIn(
        factors.item_factors,
        parameters.regularization,
        parameters.alpha,
        factors.user_factors[np.diff(fold.weights.indptr) > 0].mean(axis=0),
        prior_weight,
        parameters.weight_power,
    )
    starts = history.indptr[1:-1]
    vectors, _ = fold_in.solve(np.split(history.indices, starts), np.split(history.data, starts))
    seen, relevant = fold.seen[fold.judged], fold.relevant[fold.judged]
    counts = np.bincount(fold.weights.indices, minlength=fold.weights.shape[1])
    arms = {
        "": recommend_factors(vectors, factors.item_factors, seen, K, fold.known_items),
        "popularity_": recommend_scores(counts, seen, K, fold.known_items),
    }
    result = {"evaluated_users": float(len(fold.judged))}
    for prefix, recommended in arms.items():
        per_user = user_metrics(recommended, relevant)
        for name, attribute in _REPORTED.items():
            interval = bootstrap_interval(getattr(per_user, attribute), seed)
            result[f"{prefix}{name}"] = interval.mean
            result[f"{prefix}{name}_low"] = interval.low
            result[f"{prefix}{name}_high"] = interval.high
        result[f"{prefix}coverage"] = coverage(recommended, int(fold.known_items.sum()))
    return result
