"""A ranker from random inner splits: for data whose held-out part is no later than the rest (protocol P1, plain CSV).

The inner splits hold out a tenth, so that histories and factors are nearly as dense as those that are served; a ranker
trained on sparser ones gains nothing. Several splits, since one is noisy.
"""

import numpy as np

from data.matrix import pairs_to_mask
from data.splits import inner_split
from jobs.ranker_training import FittedRanker, Recipe, learn
from jobs.requests import user_requests
from jobs.training_data import TrainingData
from jobs.two_stage import Catalogue, RankerRows, find_candidates, fit_first_stage, ranker_rows
from models.ranker import RankerParameters

SEEDS = (1, 2, 3, 4, 5, 6, 7, 8)
# Chosen among seven on inner splits within inner splits; deeper and longer fits did worse there.
RANKER = RankerParameters(trees=100, leaves=5, smallest_leaf=400, truncation=60)


def inner_lists(
    data: TrainingData, train: np.ndarray, catalogue: Catalogue, recipe: Recipe, seed: int, threads: int
) -> RankerRows:
    """Training lists of one inner split of the rows `train`; `data` is in store order."""
    train = np.sort(train)
    split = inner_split(data.user[train], seed)
    stage = fit_first_stage(
        data, train[split.train], recipe.weighting, recipe.parameters, catalogue, seed, threads, recipe.prior_weight
    )
    held = train[split.test]
    right = (data.types.confidence(data.codes[held], data.values[held], recipe.weighting) > 0) & stage.known_items[
        data.item[held]
    ]
    relevant = pairs_to_mask(data.user[held[right]], data.item[held[right]], len(data.users), len(data.items))
    requests = user_requests(data, train[split.train], relevant)
    return ranker_rows(stage, requests, find_candidates(stage, requests, recipe.candidates, recipe.trending))


def learn_from_splits(
    data: TrainingData,
    train: np.ndarray,
    catalogue: Catalogue,
    recipe: Recipe,
    threads: int = 0,
    seeds: tuple[int, ...] = SEEDS,
    parameters: RankerParameters = RANKER,
) -> FittedRanker | None:
    """A ranker from several inner splits; None where they hold nothing to learn from."""
    rows = [inner_lists(data, train, catalogue, recipe, seed, threads) for seed in seeds]
    return learn(rows, parameters, seeds[0], threads=1)
