"""What the online store would have known at a past moment, recomputed from events.

The same formulas as `features/redis/lua/record_event.lua`: sums decayed by half-lives, as at the moment of a request,
over events up to that moment. Used for training and for offline evaluation; a test compares both sides.
"""

from collections.abc import Sequence

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
    """Popularity of all items as events arrive, by half-lives, as shares of the leader's.

    Shares do not change while nothing happens, so no sweep is needed (forward decay: Cormode et al., ICDE 2009).

    Args:
        item: (n,) int, `times_ms` (n,): the events of all users in order of arrival. One that arrives late counts by
            its own time.
        weights: (n,) >= 0 what each adds, or (h, n) where that differs by half-life (`added_popularity`).
        n_items: how many items there are.
        half_lives_ms: h half-lives; those of the ranker's features come first.
    """

    def __init__(
        self,
        item: np.ndarray,
        times_ms: np.ndarray,
        weights: np.ndarray,
        n_items: int,
        half_lives_ms: Sequence[int] = POPULARITY_HALF_LIVES_MS,
    ) -> None:
        rows = len(half_lives_ms)
        self._half_lives = half_lives_ms
        self._item, self._times, self._weights = (
            item,
            times_ms.astype(np.float64),
            np.broadcast_to(weights, (rows, len(item))),
        )
        self._newest = np.maximum.accumulate(self._times)
        self._sums = np.zeros((rows, n_items))
        self._leaders = np.zeros((rows, 1))
        self._reference = self._times[0] if len(times_ms) else 0.0
        self._next = 0

    def advance(self, n_events: int) -> None:
        """Count the first `n_events` events. Raises `ValueError` when more have been counted."""
        if n_events < self._next:
            raise ValueError("the moments must rise")
        while self._next < n_events:
            limit = self._reference + _REBASE * min(self._half_lives)
            until = min(n_events, max(int(np.searchsorted(self._newest, limit, side="right")), self._next))
            if until == self._next:
                self._rebase(self._newest[self._next])
                continue
            part = slice(self._next, until)
            items = self._item[part]
            for row, half_life in enumerate(self._half_lives):
                grown = self._weights[row, part] * np.exp2((self._times[part] - self._reference) / half_life)
                np.add.at(self._sums[row], items, grown)
                self._leaders[row] = max(self._leaders[row, 0], self._sums[row, items].max())
            self._next = until

    def shares(self, items: np.ndarray | None = None) -> np.ndarray:
        """(2, m) float32 of these items (of all for None) by the half-lives of the ranker's features, as of the events
        counted; zeros before the first one."""
        n = len(POPULARITY_HALF_LIVES_MS)
        sums, leaders = self._sums[:n] if items is None else self._sums[:n, items], self._leaders[:n]
        return np.divide(sums, leaders, out=np.zeros(sums.shape), where=leaders > 0).astype(np.float32)

    def shares_by(self, half_life_ms: int) -> np.ndarray:
        """(n_items,) float32, by one half-life: a row of `shares`, which costs a part of it."""
        row = self._half_lives.index(half_life_ms)
        if not self._leaders[row, 0] > 0:
            return np.zeros(self._sums.shape[1], np.float32)
        return np.divide(self._sums[row], self._leaders[row, 0], dtype=np.float64).astype(np.float32)

    def _rebase(self, reference: float) -> None:
        for row, half_life in enumerate(self._half_lives):
            shrunk = np.exp2((self._reference - reference) / half_life)
            self._sums[row] *= shrunk
            self._leaders[row] *= shrunk
        self._reference = reference
