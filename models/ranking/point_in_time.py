"""What the online store would have known at a past moment, recomputed from events.

The same formulas as `features/redis/lua/record_event.lua`: sums decayed by half-lives, as at the moment of a request,
over events up to that moment. Used for training and for offline evaluation; a test compares both sides.
"""

import numpy as np

from configs.decay import ACTIVITY_HALF_LIVES_MS, AFFINITY_HALF_LIFE_MS, POPULARITY_HALF_LIVES_MS

_REBASE = 400.0  # half-lives after which the sums are taken to a new reference, before doubles overflow


def activity(times_ms: np.ndarray, at_ms: float) -> np.ndarray:
    """(3,) events of one user, each halved with every half-life that has passed since.

    Args:
        times_ms: (m,) float64, none later than `at_ms`.
    """
    age = times_ms - at_ms
    return np.array([np.exp2(age / half_life).sum() for half_life in ACTIVITY_HALF_LIVES_MS.values()])


def category_affinity(amounts: np.ndarray, times_ms: np.ndarray, memberships: np.ndarray, at_ms: float) -> np.ndarray:
    """(C,) affinities of one user as shares of the sum of all |affinities|; NaN without any.

    Args:
        amounts: (m,) what each event counts; below 0 for a refusal.
        times_ms: (m,) float64.
        memberships: (m, C) bool or float, categories of each event's item.
    """
    decayed = (amounts * np.exp2((times_ms - at_ms) / AFFINITY_HALF_LIFE_MS)) @ memberships
    total = np.abs(decayed).sum()
    return decayed / total if total > 0 else np.full(memberships.shape[1], np.nan)


class DecayedPopularity:
    """Popularity of all items at rising moments, by half-lives of 1 and 7 days, as shares of the leader's.

    Shares do not change while nothing happens, so no sweep is needed (forward decay: Cormode et al., ICDE 2009).

    Args:
        item: (n,) int, `times_ms` (n,) rising, `weights` (n,) >= 0: the events of all users.
        n_items: how many items there are.
    """

    def __init__(self, item: np.ndarray, times_ms: np.ndarray, weights: np.ndarray, n_items: int) -> None:
        if len(times_ms) and (np.diff(times_ms) < 0).any():
            raise ValueError("times_ms must rise")
        self._item, self._times, self._weights = item, times_ms.astype(np.float64), weights.astype(np.float64)
        self._sums = np.zeros((2, n_items))
        self._reference = self._times[0] if len(times_ms) else 0.0
        self._next = 0

    def after(self, n_events: int) -> np.ndarray:
        """(2, n_items) float32 over the first `n_events` events; zeros before the first one.

        Raises:
            ValueError: an earlier call has passed more events.
        """
        if n_events < self._next:
            raise ValueError("the moments must rise")
        while self._next < n_events:
            limit = self._reference + _REBASE * POPULARITY_HALF_LIVES_MS[0]
            until = min(n_events, max(int(np.searchsorted(self._times, limit, side="right")), self._next))
            if until == self._next:
                self._rebase(self._times[self._next])
                continue
            part = slice(self._next, until)
            for row, half_life in enumerate(POPULARITY_HALF_LIVES_MS):
                grown = self._weights[part] * np.exp2((self._times[part] - self._reference) / half_life)
                np.add.at(self._sums[row], self._item[part], grown)
            self._next = until
        leaders = self._sums.max(axis=1, initial=0.0, keepdims=True)
        return np.divide(self._sums, leaders, out=np.zeros_like(self._sums), where=leaders > 0).astype(np.float32)

    def _rebase(self, reference: float) -> None:
        for row, half_life in enumerate(POPULARITY_HALF_LIVES_MS):
            self._sums[row] *= np.exp2((self._reference - reference) / half_life)
        self._reference = reference
