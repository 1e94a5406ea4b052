"""ALS parameters for data of which nothing is known: a grid on inner splits, without Ray, in one process.

A retraining searches finer, with Ray Tune (`jobs.train.tune`). This one must do well on anything, from a hundred rows
to millions: all points on one split, of which the worse half and more is given up after a few iterations, then the best
few on two more splits.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from configs.event_types import Weighting
from data.splits import inner_split
from models.evaluation.held_out import Fold, build_fold, mean_ndcg
from models.factors.als import AlsParameters
from models.training.training_data import TrainingData

# Dense data wants a strong pull and moderate confidence, sparse data the reverse.
REGULARIZATIONS = (1.0, 4.0, 16.0, 32.0, 64.0)
ALPHAS = (1.0, 4.0, 10.0, 30.0)
EARLY = 5  # iterations after which points are given up
REMAINING = 8
FINALISTS = 3
_MOST_JUDGED = 4000
_SPLITS = 3
_MOST_ROWS = 300_000  # fits take most of the time of lists from a table, and this is enough to tell points apart
_SHARE = 0.1


def choose_parameters(
    data: TrainingData, weighting: Weighting, factors: int, seed: int, note: Callable[[str], None], threads: int = 0
) -> AlsParameters:
    """The point with the largest mean NDCG@10 over the inner splits; the defaults where nobody can be judged on.

    Of more than 300,000 rows only those of random users are looked at, about so many.
    """
    data = _part(data, seed)
    folds = [
        build_fold(data, inner_split(data.user, seed + 1000 + number, _SHARE), weighting) for number in range(_SPLITS)
    ]
    folds = [_fewer(fold) for fold in folds if len(fold.judged)]
    if not folds:
        note("too little data to choose parameters on; taking the defaults")
        return AlsParameters(factors=factors)
    points = [
        AlsParameters(factors=factors, regularization=regularization, alpha=alpha)
        for regularization in REGULARIZATIONS
        for alpha in ALPHAS
    ]
    early = {point: _score(folds[0], point.model_copy(update={"iterations": EARLY}), seed, threads) for point in points}
    remaining = sorted(points, key=lambda point: -early[point])[:REMAINING]
    first = {point: _score(folds[0], point, seed, threads) for point in remaining}
    best = sorted(remaining, key=lambda point: -first[point])[:FINALISTS]
    means = {
        point: float(np.mean([first[point], *(_score(fold, point, seed, threads) for fold in folds[1:])]))
        for point in best
    }
    chosen = max(best, key=means.__getitem__)
    note(
        f"regularization {chosen.regularization:g}, alpha {chosen.alpha:g}: NDCG@10 {means[chosen]:.4f} over "
        f"{len(folds)} inner splits, the best of {len(points)} points"
    )
    return chosen


def _score(fold: Fold, parameters: AlsParameters, seed: int, threads: int) -> float:
    try:
        return mean_ndcg(fold, parameters, seed, threads)
    except FloatingPointError:
        return -1.0  # these parameters do not fit the data


def _fewer(fold: Fold) -> Fold:
    """The fold with a random part of its users to judge on: a point is only to be better than the next."""
    if len(fold.judged) <= _MOST_JUDGED:
        return fold
    chosen = np.random.default_rng(len(fold.judged)).choice(fold.judged, _MOST_JUDGED, replace=False)
    return replace(fold, judged=np.sort(chosen))


def _part(data: TrainingData, seed: int) -> TrainingData:
    if len(data) <= _MOST_ROWS:
        return data
    share = _MOST_ROWS / len(data)
    chosen = np.random.default_rng(seed).random(len(data.users)) < share
    return data.rows(np.flatnonzero(chosen[data.user]))
