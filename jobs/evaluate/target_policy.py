"""A model version as the target of an off-policy estimate: where it would have put what was shown.

For a list of the log the version's own list is made anew: from the user's events before that moment, with the same
functions as in training and serving, the catalogue of now, and the exploration of now. Then the last place holds

    1 - share + share / k    the version's own item of that place, among k candidates from that place on
    share / k                another of them
    0                        anything else: what it would show further up, and what it would not show at all

Not known from the log, and so not told apart: filters, diversity and device of the request. Lists of users of whom no
earlier event speaks for an item have no folded-in vector and are left out.
"""

from dataclasses import dataclass

import numpy as np

from configs.settings import Settings
from jobs.batch.serving_stage import bundle_path, served_stage
from jobs.train.erasures import current_erasures
from jobs.train.load_data import load_training_data
from models.bundle.reading import load_bundle
from models.ranking.ranker import Ranker
from models.relations.more_sources import NO_MORE, MoreSources
from models.training.first_stage import FirstStage, find_candidates
from models.training.past_requests import Past, Requests, in_store_order
from models.training.ranker_lists import rank_scores
from models.training.training_data import places

_BLOCK = 10_000  # how many lists are made at once


@dataclass(frozen=True)
class Target:
    """A version with all that decides on its lists.

    Attributes:
        candidates: the least number of candidates from the factors.
        trending: how many trending items are added for a ranker.
        exploration: share of lists whose last place goes to a candidate drawn evenly.
        learned_ms: time of the newest event that it learned from.
    """

    version: str
    stage: FirstStage
    ranker: Ranker | None
    candidates: int
    trending: int
    exploration: float
    learned_ms: int
    more: MoreSources = NO_MORE


def load_target(settings: Settings, version: str | None, simulated: bool) -> Target:
    """The bundle of a version, the champion's for None, over the events of data set and log.

    Args:
        simulated: whether events of simulated users count.

    Raises:
        BundleError, DataError, StoreError: what is missing or damaged.
    """
    bundle = load_bundle(bundle_path(settings, version))
    training = settings.training.model_copy(update={"simulated": simulated or settings.training.simulated})
    everything = load_training_data(settings.model_copy(update={"training": training}), current_erasures(settings))
    data = in_store_order(everything)
    facts = bundle.manifest.ranker
    return Target(
        version=bundle.manifest.version,
        stage=served_stage(settings, bundle, data),
        ranker=bundle.ranking.ranker if bundle.ranking is not None else None,
        candidates=settings.serving.candidates,
        trending=facts.trending if facts is not None else 0,
        exploration=settings.serving.exploration,
        learned_ms=bundle.manifest.data.last_ms,
        more=facts.more if facts is not None else NO_MORE,
    )


def chances(
    target: Target, users: np.ndarray, times_ms: np.ndarray, items: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """(n,) probability with which the version would have put each item at the last place of its list.

    Args:
        users, items: (n,) ids, of the lists' users and of the items at their last places.
        times_ms: (n,) when the lists were shown.
        lengths: (n,) number of items on each list.

    Returns:
        NaN where no event before the list spoke for an item.
    """
    data = target.stage.data
    user, item = data.users.encode(users), data.items.encode(items)
    found = np.full(len(users), np.nan)
    wanted = np.maximum(lengths, target.candidates)
    for k in np.unique(wanted).tolist():
        group = np.flatnonzero((wanted == k) & (user >= 0))
        for start in range(0, len(group), _BLOCK):
            part = group[start : start + _BLOCK]
            requests = requests_at(target, user[part], times_ms[part])
            lists = _ordered(target, requests, k)
            found[part] = _at_last_place(lists, item[part], lengths[part], target.exploration)
    return found


def requests_at(target: Target, user: np.ndarray, times_ms: np.ndarray) -> Requests:
    """What the version would have known at those moments.

    Args:
        user: (B,) positions in the version's users.
        times_ms: (B,) of the requests.
    """
    data = target.stage.data
    order = np.lexsort((data.turn, data.arrived_ms))
    before = np.searchsorted(data.arrived_ms[order], times_ms)
    return Past(data, turns=places(order)).requests(user, before, times_ms.astype(np.float64))


def _ordered(target: Target, requests: Requests, k: int) -> np.ndarray:
    """(B, m) int64 candidates in the version's order, -1 padded; a row of -1 where nothing is known of the user."""
    trending = target.trending if target.ranker is not None else 0
    found = find_candidates(target.stage, requests, k, trending, target.more)
    if target.ranker is None:
        return found.items
    scores = rank_scores(target.stage, target.ranker, requests, found)
    return np.take_along_axis(found.items, np.argsort(-scores, axis=1, kind="stable"), axis=1)


def _at_last_place(lists: np.ndarray, item: np.ndarray, lengths: np.ndarray, share: float) -> np.ndarray:
    """(B,) probability of each item at place `lengths` of its list; NaN for an empty list."""
    pool = (lists >= 0).sum(axis=1) - (lengths - 1)
    even = np.where(pool > 1, share / np.maximum(pool, 1), 0.0)
    own = np.where(pool > 1, 1.0 - share + even, 1.0)
    matches = (lists == item[:, None]) & (item >= 0)[:, None]
    place = np.where(matches.any(axis=1), matches.argmax(axis=1), -1)
    found = np.where(place == lengths - 1, own, np.where(place >= lengths, even, 0.0))
    return np.where((lists >= 0).any(axis=1), found, np.nan)
