"""Training and judging the second stage within a retraining: it learns from earlier windows of time only.

For each cutoff a first stage is fitted on the events before it, and the requests of the window after it become lists:
users who come back, and users in the middle of a session. So the ranker learns on features that are as old, and
histories that are as long, as those it meets in serving.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from configs.event_types import Weighting
from models.factors.als import AlsParameters
from models.ranking.ranker import Ranker, RankerParameters, fit_ranker
from models.training.first_stage import FirstStage, ItemFacts, find_candidates, fit_first_stage
from models.training.past_requests import Requests, window_requests
from models.training.ranker_lists import RankerRows, ranker_rows
from models.training.training_data import TrainingData

CUTOFFS = (0.5, 0.6, 0.7, 0.8)
LATEST = 0.9
WIDTH = 0.1
CONTEXTS = (0, 1, 3, 8, 20, 50)  # events of the window that are known when the request comes
JUDGED_CONTEXTS = (0, 5, 10, 20)
HORIZON = (
    5  # what comes next is right, not what comes some day: HR@10 of the next event .277 against .214 (inner windows)
)
LONGEST = (
    50  # candidates that are kept of a training list; with all 150 the fit takes three times as long and gains nothing
)
RANKER = RankerParameters(trees=150, leaves=7)
_NOT_SHOWN = 1_000  # the place of all candidates of a list that nobody was shown


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
    """A ranker, its parameters, and from how many lists it learned: of past requests, and of those that were shown."""

    ranker: Ranker
    parameters: RankerParameters
    lists: int
    logged_lists: int = 0
    logged_fingerprint: str | None = None


def stage_at(
    data: TrainingData, catalogue: ItemFacts, recipe: Recipe, cutoff: float, seed: int, threads: int
) -> FirstStage:
    """A first stage of the share `cutoff` of the events, the earliest. `data` is in store order.

    Raises:
        ValueError: no event among them speaks for any item.
    """
    train = np.arange(round(cutoff * len(data)))
    return fit_first_stage(
        data, train, recipe.weighting, recipe.parameters, catalogue, seed, threads, recipe.prior_weight
    )


def requests_after(stage: FirstStage, cutoff: float, contexts: tuple[int, ...]) -> Requests:
    """Requests of the window after `cutoff`."""
    n = len(stage.data)
    train, window = np.arange(round(cutoff * n)), np.arange(round(cutoff * n), round((cutoff + WIDTH) * n))
    return window_requests(
        stage.data, train, window, contexts, {}, stage.known_items, stage.weighting, live=True, horizon=HORIZON
    )


def lists_after(stage: FirstStage, cutoff: float, recipe: Recipe) -> RankerRows:
    """Training lists of the window after `cutoff`."""
    requests = requests_after(stage, cutoff, CONTEXTS)
    rows = ranker_rows(stage, requests, find_candidates(stage, requests, recipe.candidates, recipe.trending))
    return thin(rows, LONGEST, seed=round(1000 * cutoff))


def lists_before_latest(
    data: TrainingData, catalogue: ItemFacts, recipe: Recipe, seed: int, threads: int
) -> list[RankerRows]:
    """Training lists of all windows but the latest, in which models are judged."""
    return [
        lists_after(stage, cutoff, recipe) for cutoff, stage in early_stages(data, catalogue, recipe, seed, threads)
    ]


def early_stages(
    data: TrainingData, catalogue: ItemFacts, recipe: Recipe, seed: int, threads: int
) -> Iterator[tuple[float, FirstStage]]:
    """A first stage before each window but the latest."""
    for cutoff in CUTOFFS:
        try:
            stage = stage_at(data, catalogue, recipe, cutoff, seed, threads)
        except ValueError:
            continue  # no event so early speaks for anything
        yield cutoff, stage


def moment_of(data: TrainingData, cutoff: float) -> float:
    """Time of the last event of the share `cutoff` of the events, the earliest."""
    return float(data.times_ms[max(round(cutoff * len(data)) - 1, 0)])


def thin(rows: RankerRows, most: int, seed: int) -> RankerRows:
    """Lists of at most `most` candidates: all that is relevant, and a random choice of the rest.

    Most of a list teaches the same thing, and the time that trees take grows with every row.
    """
    number = np.repeat(np.arange(len(rows.lengths)), rows.lengths)
    chance = np.where(rows.relevant, -1.0, np.random.default_rng(seed).random(len(number)))
    order = np.lexsort((chance, number))
    starts = np.concatenate([[0], np.cumsum(rows.lengths)[:-1]])
    place = np.arange(len(number)) - starts[number]
    kept = np.sort(order[place < most])
    lengths = np.bincount(number[kept], minlength=len(rows.lengths))
    return RankerRows(rows.features[kept], rows.relevant[kept], lengths)


def learn(
    rows: Sequence[RankerRows],
    parameters: RankerParameters,
    seed: int,
    threads: int,
    logged: Sequence[RankerRows] = (),
) -> FittedRanker | None:
    """One ranker from all lists; None where those of past requests hold nothing to learn from.

    Args:
        logged: lists that were shown, with places and weights.
    """
    rows, logged = ([part for part in parts if len(part.lengths)] for parts in (rows, logged))
    if not rows:
        return None
    every = [*rows, *logged]
    place, weights = None, None
    if any(part.place is not None for part in every):
        place = np.concatenate(
            [np.full(len(part.relevant), _NOT_SHOWN) if part.place is None else part.place for part in every]
        )
        weights = np.concatenate(
            [np.ones(len(part.relevant)) if part.weights is None else part.weights for part in every]
        )
    ranker = fit_ranker(
        np.concatenate([part.features for part in every]),
        np.concatenate([part.relevant for part in every]),
        np.concatenate([part.lengths for part in every]),
        parameters,
        seed,
        threads,
        place,
        weights,
    )
    return FittedRanker(
        ranker,
        parameters,
        sum(len(part.lengths) for part in rows),
        sum(len(part.lengths) for part in logged),
    )
