"""What a replica counts for the guard of a promoted model: the first requests of each user under one model."""

from collections.abc import Mapping, MutableMapping

from models.monitoring.per_user import UserLimit

OF_ONE_USER = 3
"""Requests of one user that count in one replica."""
MODEL_ERRORS = ("model_unavailable", "internal_error", "deadline_exceeded")
"""Errors that a model can be blamed for; overload and a store that is away are not among them."""
NAMES = ("requests", "failed", "slow")
_HEAD = "guarded:"


class UserCounts:
    """Adds to a replica's counts.

    Args:
        counts: those of `RequestMetrics`.
        slow_s: a request that takes longer is slow.
    """

    def __init__(self, counts: MutableMapping[str, int], slow_s: float) -> None:
        self._counts = counts
        self._slow_s = slow_s
        self._limit = UserLimit(OF_ONE_USER)

    def answered(self, user_id: str, version: str | None, seconds: float, error: str = "") -> None:
        """Count an answer.

        Args:
            version: the champion by then; with another one every user's counting begins anew.
            error: the code of the error, if any.
        """
        if not self._limit.admits(user_id, version):
            return
        self._counts[_HEAD + "requests"] += 1
        if error in MODEL_ERRORS:
            self._counts[_HEAD + "failed"] += 1
        elif seconds > self._slow_s:
            self._counts[_HEAD + "slow"] += 1


def user_counts(totals: Mapping[str, int]) -> dict[str, int]:
    """`NAMES` over all replicas, from the totals in the store."""
    return {name: totals.get(_HEAD + name, 0) for name in NAMES}
