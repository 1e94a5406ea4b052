"""Requests by group of users, for alerts that no single user raises or hides.

A share of all requests is moved by whoever asks most: one client that repeats a broken request makes the system look
broken, and one that asks a thousand times well hides that others get errors. So users are dealt to groups by a hash of
their id, which is the same in every replica, a share is taken within each group, and the group with the highest one is
left out of their mean. A user is in one group alone, wherever and how often it asks.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import NamedTuple
from zlib import crc32

from deployments.http.errors import ApiError, store_error
from features.redis.errors import StoreError

GROUPS = 64
"""Enough for a group to be a small part of all, few enough to be counted in every slice of time."""
KINDS = ("asked", "failed", "lists", "slow")
_HEAD = "by_group:"


class GroupCounts:
    """Adds to a replica's counts, by the group of who asks.

    Args:
        counts: those of `RequestMetrics`.
        slow_s: a list that takes longer is slow.
    """

    def __init__(self, counts: MutableMapping[str, int], slow_s: float) -> None:
        self._counts = counts
        self._slow_s = slow_s
        self._names = [tuple(f"{_HEAD}{kind}:{group}" for kind in KINDS) for group in range(GROUPS)]

    def answered(self, who: str, failed: bool, list_s: float | None = None) -> None:
        """Count an answer.

        Args:
            who: the user's id; of what no single user asks for, the name of the client.
            failed: whether it was answered 5xx.
            list_s: how long a recommendation took; None for another request, and for one that failed.
        """
        asked, failures, lists, slow = self._names[crc32(who.encode("utf-8", "surrogatepass")) % GROUPS]
        self._counts[asked] += 1
        if failed:
            self._counts[failures] += 1
        if list_s is not None:
            self._counts[lists] += 1
            if list_s > self._slow_s:
                self._counts[slow] += 1

    @contextmanager
    def answering(self, who: str) -> Iterator[None]:
        """Count what is done within: as failed where it ends in an error that is answered 5xx."""
        try:
            yield
        except Exception as error:
            self.answered(who, is_failure(error))
            raise
        self.answered(who, failed=False)


def is_failure(error: Exception) -> bool:
    """Whether a request that ends so is answered 5xx."""
    if isinstance(error, ApiError):
        return error.status >= 500
    return not isinstance(error, StoreError) or store_error(error).status >= 500


class GroupShare(NamedTuple):
    """A share of requests as users meet it.

    Attributes:
        share: the mean over groups of users, without the group that has the highest share; None with fewer than two.
        requests: of all groups.
        groups: in how many of the groups it happened to a request.
    """

    share: float | None
    requests: int
    groups: int


def group_share(counts: Mapping[str, int], of: str, base: str) -> GroupShare:
    """The share of `of` in `base`, two of `KINDS`."""
    bases = [counts.get(f"{_HEAD}{base}:{group}", 0) for group in range(GROUPS)]
    found = [counts.get(f"{_HEAD}{of}:{group}", 0) for group in range(GROUPS)]
    shares = sorted(part / whole for part, whole in zip(found, bases, strict=True) if whole)
    share = sum(shares[:-1]) / (len(shares) - 1) if len(shares) > 1 else None
    return GroupShare(share, sum(bases), sum(map(bool, found)))
