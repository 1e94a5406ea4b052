"""Training and judging the second stage within a retraining: it learns from earlier windows of time only.

For each cutoff a first stage is fitted on the events before it, and the requests of the window after it become lists:
users who come back, and users in the middle of a session. So the ranker learns on features that are as old, and
histories that are as long, as those it meets in serving.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from configs.decay import TRENDING_WINDOW, Window
from configs.event_types import Weighting
from models.factors.als import AlsParameters
from models.ranking.attributes import NO_ATTRIBUTES, UsedAttributes
from models.ranking.features import FEATURES
from models.ranking.ranker import Ranker, RankerParameters, fit_ranker
from models.relations.more_sources import NO_MORE, MoreSources
from models.relations.near_counts import CELLS
from models.training.first_stage import HISTORY_LIMIT, CandidateTable, FirstStage, find_candidates, fit_first_stage
from models.training.item_facts import ItemFacts
from models.training.past_requests import Requests, in_store_order, window_requests
from models.training.ranker_lists import RankerRows, ranker_rows
from models.training.training_data import TrainingData, in_random_order

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
MOST_LISTS = 6_000  # of one window, a random choice where there are more: it bounds memory and time of the fit
FEWEST_LISTS = 600  # that are taken of one window where there are so many, however large the catalogue
_CELLS = 600_000_000  # scores that the candidates of a window may take: with more than 100,000 items fewer lists
MANY_EVENTS = 1_000_000  # from here on the last two windows before the judged one hold lists enough
RANKER = RankerParameters(trees=150, leaves=7)
_NOT_SHOWN = 1_000  # the place of all candidates of a list that nobody was shown


@dataclass(frozen=True)
class Recipe:
    """How a model is made, beside its data.

    Attributes:
        horizon_s: a ranker learns, and is judged, by what a user takes up within so many seconds after the begin of a
            visit; by the next `HORIZON` events where it is None.
    """

    weighting: Weighting
    parameters: AlsParameters
    prior_weight: float
    candidates: int
    trending: int
    history_limit: int = HISTORY_LIMIT
    trending_window: Window = TRENDING_WINDOW
    more: MoreSources = NO_MORE
    near_cells: int = CELLS
    horizon_s: float | None = None


@dataclass(frozen=True)
class FittedRanker:
    """A ranker, its parameters, and from how many lists it learned: of past requests, and of those that were shown."""

    ranker: Ranker
    parameters: RankerParameters
    lists: int
    logged_lists: int = 0
    logged_fingerprint: str | None = None
    attributes: UsedAttributes = NO_ATTRIBUTES
    more: MoreSources = NO_MORE


def stage_at(
    data: TrainingData, catalogue: ItemFacts, recipe: Recipe, cutoff: float, seed: int, threads: int
) -> FirstStage:
    """A first stage of the share `cutoff` of the events, the earliest. `data` is in store order.

    Raises:
        ValueError: no event among them speaks for any item.
    """
    return fit_first_stage(
        data,
        data.before(cutoff),
        recipe.weighting,
        recipe.parameters,
        catalogue,
        seed,
        threads,
        recipe.prior_weight,
        recipe.history_limit,
        recipe.trending_window,
        recipe.near_cells,
    )


def most_lists(n_items: int) -> int:
    """How many lists of one window are taken from a catalogue of so many items."""
    return max(FEWEST_LISTS, min(MOST_LISTS, _CELLS // n_items))


def requests_after(
    stage: FirstStage,
    cutoff: float,
    until: float,
    contexts: tuple[int, ...] | None,
    most: int = MOST_LISTS,
    horizon_s: float | None = None,
    new: bool = False,
) -> Requests:
    """Requests of the window from the share `cutoff` of the events to the share `until`, at most so many.

    Args:
        contexts: as in `window_requests`.
        horizon_s: as in `Recipe`.
        new: whether items can be right that the stage does not know.
    """
    data, n = stage.data, len(stage.data)
    window = np.flatnonzero((data.turn >= round(cutoff * n)) & (data.turn < round(until * n)))
    return window_requests(
        data,
        data.before(cutoff),
        window,
        contexts,
        {},
        stage.known_items | ~stage.in_model if new and stage.new_come else stage.known_items,
        stage.weighting,
        live=True,
        horizon=HORIZON if data.time_trusted else None,  # what has no order has no next five
        most=min(most, most_lists(len(data.items))),
        horizon_s=horizon_s,
    )


def lists_after(stage: FirstStage, cutoff: float, until: float, recipe: Recipe, most: int = MOST_LISTS) -> RankerRows:
    """Training lists of the window from the share `cutoff` of the events to the share `until`, at most so many."""
    requests = requests_after(stage, cutoff, until, CONTEXTS, most, recipe.horizon_s, new=True)
    candidates = find_candidates(stage, requests, recipe.candidates, recipe.trending, recipe.more)
    return lists_of(stage, requests, cutoff, candidates)


def lists_of(stage: FirstStage, requests: Requests, cutoff: float, candidates: CandidateTable) -> RankerRows:
    """Training lists of requests after the share `cutoff` of the events, with these candidates."""
    return ranker_rows(stage, requests, candidates, LONGEST, seed=round(1000 * cutoff))


def early_windows(latest: float, n_events: int) -> list[tuple[float, float]]:
    """The windows that a ranker may learn from when it is judged on what comes after the share `latest`.

    Each costs a fit of the factors, so of very many events only the last two are taken.
    """
    starts = [cutoff for cutoff in (*CUTOFFS, LATEST) if cutoff < latest]
    if n_events > MANY_EVENTS:
        starts = starts[-2:]
    return [(cutoff, min(round(cutoff + WIDTH, 6), latest)) for cutoff in starts]


def early_stages(
    data: TrainingData, catalogue: ItemFacts, recipe: Recipe, latest: float, seed: int, threads: int
) -> Iterator[tuple[tuple[float, float], FirstStage]]:
    """The windows before the share `latest`, each with a first stage of what came before it, without the weights that
    it was fitted on: several stages are held at once, and nobody asks for these again.

    Where times do not say what came before what, each window is another random tenth of the events before `latest`, and
    the first stage is fitted on the rest of them: factors and histories are then nearly as dense as those that are
    served. A window of the first half alone would teach the ranker what sparse ones look like.
    """
    for number, window in enumerate(early_windows(latest, len(data))):
        known = data
        if not data.time_trusted:
            known = in_store_order(in_random_order(data, seed + number, latest))
            window = round((1 - WIDTH) * latest, 6), latest
        try:
            stage = stage_at(known, catalogue, recipe, window[0], seed, threads)
        except ValueError:
            continue  # no event so early speaks for anything
        yield window, replace(stage, weights=stage.weights[:0])


def lists_before(
    data: TrainingData, catalogue: ItemFacts, recipe: Recipe, latest: float, seed: int, threads: int
) -> list[RankerRows]:
    """Training lists of all windows before the share `latest`."""
    return [
        lists_after(stage, *window, recipe)
        for window, stage in early_stages(data, catalogue, recipe, latest, seed, threads)
    ]


def moment_of(data: TrainingData, share: float) -> float:
    """Time by which this share of the events, the earliest, had happened."""
    rows = data.before(share)
    return float(data.times_ms[rows if len(rows) else slice(None)].max())


def learn(
    rows: Sequence[RankerRows],
    parameters: RankerParameters,
    seed: int,
    threads: int,
    logged: Sequence[RankerRows] = (),
    attributes: UsedAttributes = NO_ATTRIBUTES,
) -> FittedRanker | None:
    """One ranker from all lists; None where those of past requests hold nothing to learn from.

    Args:
        logged: lists that were shown, with places and weights.
        attributes: those that the ranker reads, of which the lists have the columns; none where it is to do without.
    """
    width = len(FEATURES) + len(attributes.features)
    rows, logged = ([part for part in parts if len(part.lengths)] for parts in (rows, logged))
    if not rows:
        return None
    every = [*rows, *logged]
    place, weights = None, None
    if any(part.place is not None for part in every):
        place = np.concatenate(
            [np.full(len(part.gains), _NOT_SHOWN) if part.place is None else part.place for part in every]
        )
        weights = np.concatenate([np.ones(len(part.gains)) if part.weights is None else part.weights for part in every])
    ranker = fit_ranker(
        [part.features[:, :width] for part in every],
        np.concatenate([part.gains for part in every]),
        np.concatenate([part.lengths for part in every]),
        parameters,
        seed,
        threads,
        place,
        weights,
        attributes,
    )
    return FittedRanker(
        ranker,
        parameters,
        sum(len(part.lengths) for part in rows),
        sum(len(part.lengths) for part in logged),
        attributes=attributes,
    )
