"""Training lists for the ranker from lists that were shown: the features that each item had at that moment.

What was shown is looked up among the candidates that the first stage finds as of that moment, so that ranks and
standardised scores mean what they mean in serving. Items that it does not find, because another model made the list,
follow behind; items that it does not know are left out.

The label is what was taken up. Place and item are told apart in the fit (`models.ranking.ranker`). What is on a list at
all is up to the logged propensities: 1, but for the place that exploration fills. An item of such a place counts 1 /
its propensity, in each direction, so that what chance showed rarely weighs as if it had been shown always (inverse
propensity scoring), but no more than a clip: with 10 instead of 2, simulated rankers got worse, by variance.
"""

from dataclasses import dataclass, replace

import numpy as np

from models.training.first_stage import CandidateTable, FirstStage, find_candidates
from models.training.past_requests import Past, Requests
from models.training.ranker_lists import RankerRows, request_features
from models.training.ranker_windows import Recipe
from models.training.shown_lists import DEEPEST, ShownLists
from models.training.stage_histories import request_interest, request_vectors
from models.training.training_data import TrainingData, places


@dataclass(frozen=True)
class Logged:
    """Lists that were shown, and how to learn from them.

    Attributes:
        lists: all lists that training may learn from.
        fewest: the least number of lists before the latest window; with fewer, none is used.
        clip: largest weight of an item.
    """

    lists: ShownLists
    fewest: int
    clip: float


def logged_between(logged: Logged, after_ms: float, until_ms: float, settled_ms: float) -> ShownLists:
    """Lists made after one moment and up to another, and settled by a third: what came later is not known yet."""
    lists = logged.lists
    return lists.some(
        np.flatnonzero((lists.at_ms > after_ms) & (lists.at_ms <= until_ms) & (lists.settled_ms <= settled_ms))
    )


def logged_requests(data: TrainingData, lists: ShownLists) -> Requests:
    """What was asked: with every event that the store had taken by then, and popularity as it was then."""
    order = np.lexsort((data.turn, data.arrived_ms))
    past = Past(data, turns=places(order))
    before = np.searchsorted(data.arrived_ms[order], lists.shown_ms)
    return past.requests(lists.user, before, lists.at_ms, devices=lists.devices)


def logged_rows(stage: FirstStage, lists: ShownLists, recipe: Recipe, clip: float) -> RankerRows:
    """Training rows of lists whose user had a history; the stage must not know more than they did."""
    if not len(lists):
        return RankerRows(
            np.empty((0, stage.n_features), np.float32), *(np.empty(0, kind) for kind in (np.float32, int, int, float))
        )
    requests = logged_requests(stage.data, lists)
    candidates, column = with_shown(
        stage, requests, find_candidates(stage, requests, recipe.candidates, recipe.trending, recipe.more), lists.items
    )
    present = column >= 0
    taken = lists.taken & present
    useful = np.flatnonzero(taken.any(axis=1) & (present & ~taken).any(axis=1))
    column, taken, present = column[useful], taken[useful], present[useful]
    kept = replace(candidates, items=candidates.items[useful], scores=candidates.scores[useful])
    offered = kept.items >= 0
    # Features come without the padding: how many candidates stand before each column.
    row_of = np.cumsum(offered, axis=1) - 1
    parts = [np.empty((0, stage.n_features), np.float32)]
    for part, features, lengths in request_features(stage, requests.some(useful), kept):
        first = np.cumsum(lengths) - lengths
        wanted = first[:, None] + np.take_along_axis(row_of[part], np.maximum(column[part], 0), axis=1)
        parts.append(features[wanted[present[part]]])
    place = np.broadcast_to(np.arange(DEEPEST), present.shape)[present]
    weights = np.minimum(1.0 / lists.propensity[useful], clip)[present]
    return RankerRows(np.concatenate(parts), taken[present].astype(np.float32), present.sum(axis=1), place, weights)


def with_shown(
    stage: FirstStage, requests: Requests, found: CandidateTable, shown: np.ndarray
) -> tuple[CandidateTable, np.ndarray]:
    """The candidates, followed by what was shown and is not among them, and the column of each item that was shown.

    Args:
        shown: (B, p) int64, -1 for none.

    Returns:
        candidates (B, k + p), and (B, p) int64 columns, -1 where nothing was shown, the item is not known to the stage,
        or the user had no history.
    """
    vectors, known = request_vectors(stage, requests, *request_interest(stage, requests))
    rows, places = shown.shape
    usable = (shown >= 0) & known[:, None] & stage.known_items[np.maximum(shown, 0)]
    column = np.full(shown.shape, -1, np.int64)
    width = found.items.shape[1]
    items = np.concatenate([found.items, np.full((rows, places), -1, np.int64)], axis=1)
    for place in range(places):
        same = (found.items == shown[:, place, None]) & usable[:, place, None]
        here = same.any(axis=1)
        column[here, place] = same[here].argmax(axis=1)
        added = usable[:, place] & ~here
        items[added, width + place] = shown[added, place]
        column[added, place] = width + place
    scores = np.concatenate([found.scores, np.full((rows, places), np.nan, np.float32)], axis=1)
    row, behind = np.nonzero(items[:, width:] >= 0)
    own = stage.factors.item_factors[items[row, width + behind]]
    scores[row, width + behind] = np.einsum("nf,nf->n", vectors[row], own)
    return CandidateTable(items, scores, near=found.near), column
