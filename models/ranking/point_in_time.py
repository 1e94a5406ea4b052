"""What the online store would have known at a past moment, recomputed from events.

It uses the formulas of `features/redis/lua/recording/record_event.lua`: sums decayed by half-lives, as at the moment of
a request, over events up to that moment. Training and offline evaluation use it, and a test compares both sides.
"""

import numpy as np
import scipy.sparse as sp

from configs.decay import ACTIVITY_HALF_LIVES_MS, AFFINITY_HALF_LIFE_MS, POPULARITY_HALF_LIVES_MS

_REBASE = 400.0  # half-lives after which the sums are taken to a new reference, before doubles overflow


def activity(times_ms: np.ndarray, at_ms: float) -> np.ndarray:
    """(3,) events of one user, each halved with every half-life that has passed since.

    Args:
        times_ms: (m,) float64.
    """
    age = times_ms - at_ms
    return np.array([np.exp2(age / half_life).sum() for half_life in ACTIVITY_HALF_LIVES_MS.values()])


def affinity_amounts(amounts: np.ndarray, times_ms: np.ndarray, at_ms: float | np.ndarray) -> np.ndarray:
    """(m,) float64: what each event of a history still counts for an affinity; below 0 for a refusal."""
    return np.asarray(amounts * np.exp2((times_ms - at_ms) / AFFINITY_HALF_LIFE_MS), np.float64)


def category_affinities(
    amounts: np.ndarray, times_ms: np.ndarray, memberships: sp.csr_matrix, lengths: np.ndarray, at_ms: np.ndarray
) -> np.ndarray:
    """(B, C) affinities of B users as shares of the sum of all |affinities| of a user; NaN without any.

    Args:
        amounts: (m,) what each event counts; below 0 for a refusal. The events of all users, one user after another.
        times_ms: (m,) float64.
        memberships: (m, C), the categories of each event's item.
        lengths: (B,) events of each user; their sum is m.
        at_ms: (B,) the moment of each request.
    """
    counted = affinity_amounts(amounts, times_ms, np.repeat(at_ms, lengths))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    events = sp.csr_matrix((counted, np.arange(len(amounts)), starts), shape=(len(lengths), len(amounts)))
    decayed = (events @ memberships).toarray()
    total = np.abs(decayed).sum(axis=1, keepdims=True)
    return np.divide(decayed, total, out=np.full(decayed.shape, np.nan), where=total > 0)


class DecayedPopularity:
    """Popularity of all items as events arrive, by half-lives of 1 and 7 days, as shares of the leader's.

    Shares do not change while nothing happens, so no sweep is needed (forward decay: Cormode et al., ICDE 2009).

    Args:
        item: (n,) int, `times_ms` (n,): the events of all users in order of arrival. One that arrives late counts by
            its own time.
        weights: (n,) >= 0 what each adds, or (2, n) where that differs by half-life (`added_popularity`).
        n_items: how many items there are.
    """

    def __init__(self, item: np.ndarray, times_ms: np.ndarray, weights: np.ndarray, n_items: int) -> None:
        self._item, self._times, self._weights = (
            item,
            times_ms.astype(np.float64),
            np.broadcast_to(weights, (2, len(item))),
        )
        self._newest = np.maximum.accumulate(self._times)
        self._sums = np.zeros((2, n_items))
        self._leaders = np.zeros((2, 1))
        self._reference = self._times[0] if len(times_ms) else 0.0
        self._next = 0

    def advance(self, n_events: int) -> None:
        """Count the first `n_events` events. Raises `ValueError` when more have been counted."""
        if n_events < self._next:
            raise ValueError("the moments must rise")
        while self._next < n_events:
            limit = self._reference + _REBASE * POPULARITY_HALF_LIVES_MS[0]
            until = min(n_events, max(int(np.searchsorted(self._newest, limit, side="right")), self._next))
            if until == self._next:
                self._rebase(self._newest[self._next])
                continue
            part = slice(self._next, until)
            items = self._item[part]
            for row, half_life in enumerate(POPULARITY_HALF_LIVES_MS):
                grown = self._weights[row, part] * np.exp2((self._times[part] - self._reference) / half_life)
                np.add.at(self._sums[row], items, grown)
                self._leaders[row] = max(self._leaders[row, 0], self._sums[row, items].max())
            self._next = until

    def shares(self, items: np.ndarray | None = None) -> np.ndarray:
        """(2, m) float32 of these items (of all for None) as of the events counted; zeros before the first one."""
        sums = self._sums if items is None else self._sums[:, items]
        return np.divide(sums, self._leaders, out=np.zeros(sums.shape), where=self._leaders > 0).astype(np.float32)

    def weekly_shares(self) -> np.ndarray:
        """(n_items,) float32, by the half-life of 7 days: the second row of `shares`, which costs half as much."""
        if not self._leaders[1, 0] > 0:
            return np.zeros(self._sums.shape[1], np.float32)
        return np.divide(self._sums[1], self._leaders[1, 0], dtype=np.float64).astype(np.float32)

    def _rebase(self, reference: float) -> None:
        for row, half_life in enumerate(POPULARITY_HALF_LIVES_MS):
            shrunk = np.exp2((self._reference - reference) / half_life)
            self._sums[row] *= shrunk
            self._leaders[row] *= shrunk
        self._reference = reference


class TrendingStrength:
    """How strongly items are trending as events arrive, by one half-life, as log2 of the decayed sums: like the store's
    scores, these lose no order however old the events are, where a sum by hours is 0 after 45 days.

    Args:
        item: (n,) int, `times_ms` (n,): the events of all users in order of arrival.
        weights: (n,) >= 0 what each adds.
        n_items: how many items there are.
    """

    def __init__(
        self, item: np.ndarray, times_ms: np.ndarray, weights: np.ndarray, n_items: int, half_life_ms: float
    ) -> None:
        self._item = item
        self._scores = np.full(len(item), -np.inf)
        counts = weights > 0
        self._scores[counts] = np.log2(weights[counts]) + times_ms[counts] / half_life_ms
        self._sums = np.full(n_items, -np.inf)
        self._next = 0

    def after(self, n_events: int) -> np.ndarray:
        """(n_items,) float64 after the first `n_events` events, -inf for items without any; a view, which the next call
        changes. Raises `ValueError` when more have been counted."""
        if n_events < self._next:
            raise ValueError("the moments must rise")
        part = slice(self._next, n_events)
        np.logaddexp2.at(self._sums, self._item[part], self._scores[part])
        self._next = n_events
        return self._sums
