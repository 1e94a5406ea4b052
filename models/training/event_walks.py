"""Popularity and near counts as of past requests: walked forward over the events that each of them may know of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from configs.decay import ACTIVITY_HALF_LIVES_MS, POPULARITY_HALF_LIVES_MS
from models.ranking.once_per_user import added_popularity
from models.ranking.point_in_time import DecayedPopularity, TrendingStrength
from models.relations.near_counts import NearCounts, counted
from models.training.past_requests import Requests
from models.training.training_data import TrainingData

if TYPE_CHECKING:
    from models.training.first_stage import FirstStage


def count_events(data: TrainingData, rows: np.ndarray, cells: int) -> NearCounts:
    """The counts after these rows, in the order of their turns."""
    ordered = rows[np.argsort(data.turn[rows], kind="stable")]
    ordered = ordered[counted(data.types, data.codes[ordered], data.values[ordered])]
    counts = NearCounts(len(data.items), len(data.users), cells)
    counts.take(data.user[ordered], data.item[ordered], data.times_ms[ordered])
    return counts


class NearWalk:
    """The counts before each of the requests, by the events that they may know of.

    Args:
        counts: what it starts from, and goes on with.
        done: how many of those events are counted already.
    """

    def __init__(self, data: TrainingData, counts: NearCounts, requests: Requests, done: int = 0) -> None:
        self.counts = counts
        self._data, self._rows, self._done = data, requests.popularity_rows, done
        rows = requests.popularity_rows
        self._counted = counted(data.types, data.codes[rows], data.values[rows])

    def advance(self, visible: int) -> NearCounts:
        """The counts after so many of the events. Raises ValueError when more have been counted."""
        if visible < self._done:
            raise ValueError("the moments must rise")
        rows = self._rows[self._done : visible][self._counted[self._done : visible]]
        if len(rows):
            data = self._data
            self.counts.take(data.user[rows], data.item[rows], data.times_ms[rows])
        self._done = visible
        return self.counts


@dataclass(frozen=True)
class NearEvents:
    """What near counts are made of.

    Attributes:
        known: rows that most requests know; None where there are none such.
    """

    data: TrainingData
    cells: int
    known: np.ndarray | None

    @cached_property
    def _ordered(self) -> np.ndarray:
        assert self.known is not None
        return self.known[np.argsort(self.data.turn[self.known], kind="stable")]

    @cached_property
    def counts(self) -> NearCounts:
        """The counts after the `known` events."""
        return count_events(self.data, self._ordered, self.cells)

    def walk(self, requests: Requests) -> NearWalk:
        """Counts before each of the requests. Where all of these know the `known` events, those are counted once."""
        if self.known is not None and len(requests):
            done = len(self.known)
            if requests.visible.min() >= done and np.array_equal(requests.popularity_rows[:done], self._ordered):
                return NearWalk(self.data, self.counts.copy(), requests, done)
        counts = NearCounts(len(self.data.items), len(self.data.users), self.cells)
        return NearWalk(self.data, counts, requests)


def popularity_walk(stage: "FirstStage", requests: Requests) -> DecayedPopularity:
    """Decayed popularity over the events that the requests may know of; no user counts twice for an item."""
    item, times_ms, added = _counted(stage, requests, POPULARITY_HALF_LIVES_MS)
    return DecayedPopularity(item, times_ms, added, len(stage.known_items))


def trending_walk(stage: "FirstStage", requests: Requests) -> TrendingStrength:
    """Popularity decayed by the half-life of the stage's window, over the same events by the same rule."""
    half_life_ms = ACTIVITY_HALF_LIVES_MS[stage.trending_window]
    item, times_ms, added = _counted(stage, requests, (half_life_ms,))
    return TrendingStrength(item, times_ms, added[0], len(stage.known_items), half_life_ms)


def _counted(
    stage: "FirstStage", requests: Requests, half_lives_ms: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items (n,) and times (n,) of the events that the requests may know of, and (h, n) what each adds by half-life."""
    data, counted = stage.data, requests.popularity_rows
    item, times_ms = data.item[counted], data.times_ms[counted]
    whole = data.in_turn
    if len(counted) <= len(whole) and np.array_equal(counted, whole[: len(counted)]):
        # What an event adds depends on earlier ones alone, so for all of them it is found once, not for each window.
        every = [_added_by_all(stage, half_life)[: len(counted)] for half_life in half_lives_ms]
        return item, times_ms, np.stack(every)
    return item, times_ms, _added(stage, counted, half_lives_ms)


def _added_by_all(stage: "FirstStage", half_life_ms: int) -> np.ndarray:
    """(n,) float64 what each event adds by a half-life, in the order of their turns."""
    key = (half_life_ms, stage.history_limit)
    if key not in stage.data.added:
        stage.data.added[key] = _added(stage, stage.data.in_turn, (half_life_ms,))[0]
    return stage.data.added[key]


def _added(stage: "FirstStage", rows: np.ndarray, half_lives_ms: Sequence[int]) -> np.ndarray:
    data = stage.data
    weights = data.types.confidence(data.codes[rows], data.values[rows], "preference")
    half_lives = np.array(half_lives_ms, np.float64)
    return added_popularity(
        data.user[rows], data.item[rows], data.times_ms[rows], weights, half_lives, stage.history_limit
    )
