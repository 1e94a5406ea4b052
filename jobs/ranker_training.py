"""Training and judging the second stage within a retraining: it learns from earlier windows of time only.

For each cutoff a first stage is fitted on the events before it, and the requests of the window after it become lists:
users who come back, and users in the middle of a session. So the ranker learns on features that are as old, and
histories that are as long, as those it meets in serving.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from configs.event_types import Weighting
from jobs.requests import Requests, window_requests
from jobs.training_data import TrainingData
from jobs.two_stage import Catalogue, FirstStage, RankerRows, find_candidates, fit_first_stage, ranker_rows
from models.als import AlsParameters
from models.ranker import Ranker, RankerParameters, fit_ranker

CUTOFFS = (0.5, 0.6, 0.7, 0.8)
LATEST = 0.9
WIDTH = 0.1
CONTEXTS = (0, 3, 10, 20)  # events of the window that are known when the request comes
FEWEST = {3: 8, 10: 15, 20: 25}
JUDGED_CONTEXTS = (0, 10)
RANKER = RankerParameters(trees=150, leaves=7)


@dataclass(frozen=True)
class Recipe:
    """How a model is made, beside its data."""

    weighting: Weighting
    parameters: AlsParameters
    prior_weight: float
    candidates: int
    trending: int


@dataclass(frozen=True)
class FittedRanker:
    """A ranker, its parameters, and from how many lists it learned."""

    ranker: Ranker
    parameters: RankerParameters
    lists: int


def stage_at(
    data: TrainingData, catalogue: Catalogue, recipe: Recipe, cutoff: float, seed: int, threads: int
) -> FirstStage:
    """A first stage of the share `cutoff` of the events, the earliest. `data` is in store order.

    Raises:
        ValueError: no event among them speaks for any item.
    """
    train = np.arange(round(cutoff * len(data)))
    return fit_first_stage(
        data, train, recipe.weighting, recipe.parameters, catalogue, seed, threads, recipe.prior_weight
    )


def requests_after(
    stage: FirstStage, cutoff: float, contexts: tuple[int, ...], weighting: Weighting | None = None
) -> Requests:
    """Requests of the window after `cutoff`."""
    n = len(stage.data)
    train, window = np.arange(round(cutoff * n)), np.arange(round(cutoff * n), round((cutoff + WIDTH) * n))
    return window_requests(
        stage.data, train, window, contexts, FEWEST, stage.known_items, weighting or stage.weighting, live=True
    )


def lists_after(stage: FirstStage, cutoff: float, recipe: Recipe) -> RankerRows:
    """Training lists of the window after `cutoff`."""
    requests = requests_after(stage, cutoff, CONTEXTS)
    return ranker_rows(stage, requests, find_candidates(stage, requests, recipe.candidates, recipe.trending))


def lists_before_latest(
    data: TrainingData, catalogue: Catalogue, recipe: Recipe, seed: int, threads: int
) -> list[RankerRows]:
    """Training lists of all windows but the latest, in which models are judged."""
    rows = []
    for cutoff in CUTOFFS:
        try:
            stage = stage_at(data, catalogue, recipe, cutoff, seed, threads)
        except ValueError:
            continue  # no event so early speaks for anything
        rows.append(lists_after(stage, cutoff, recipe))
    return rows


def learn(rows: Sequence[RankerRows], parameters: RankerParameters, seed: int, threads: int) -> FittedRanker | None:
    """One ranker from all lists; None where they hold nothing to learn from."""
    rows = [part for part in rows if len(part.lengths)]
    if not rows:
        return None
    lengths = np.concatenate([part.lengths for part in rows])
    ranker = fit_ranker(
        np.concatenate([part.features for part in rows]),
        np.concatenate([part.relevant for part in rows]),
        lengths,
        parameters,
        seed,
        threads,
    )
    return FittedRanker(ranker, parameters, len(lengths))
