"""Bounds on what one user may count for, so that a robot is one user among others: in memory, of the latest users."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import takewhile
from typing import Generic, TypeVar

USERS_COUNTED = 50_000
"""Users that are remembered; whoever comes more often than a few times is among the latest."""
T = TypeVar("T")


class UserLimit:
    """Lets the first few things of each user count.

    Args:
        most: how many of one user count under one key.
        users: users that are remembered; of others the counting begins anew.
    """

    def __init__(self, most: int, users: int = USERS_COUNTED) -> None:
        self._most = most
        self._users = users
        self._counts: OrderedDict[str, tuple[Hashable, int]] = OrderedDict()

    def admits(self, user_id: str, key: Hashable) -> bool:
        """Count one thing of a user, and tell whether there was room for it. With another key the count begins anew."""
        known, count = self._counts.pop(user_id, (key, 0))
        count = count + 1 if known == key else 1
        self._counts[user_id] = key, count
        if len(self._counts) > self._users:
            self._counts.popitem(last=False)
        return count <= self._most


class LatestOfUsers(Generic[T]):
    """The latest things that came, of each user at most `most`: the older ones make room.

    Args:
        most: of one user.
        kept: of all users.
        user_of: whose a thing is.

    Attributes:
        came: how many came in all.
    """

    def __init__(self, most: int, kept: int, user_of: Callable[[T], str]) -> None:
        self._most = most
        self._kept = kept
        self._user_of = user_of
        self._things: OrderedDict[int, T] = OrderedDict()
        self._places: dict[str, deque[int]] = {}
        self.came = 0

    def __len__(self) -> int:
        return len(self._things)

    def __iter__(self) -> Iterator[T]:
        return iter(self._things.values())

    def extend(self, things: Iterable[T]) -> None:
        """Add things in the order in which they came."""
        for thing in things:
            places = self._places.setdefault(self._user_of(thing), deque())
            places.append(self.came)
            self._things[self.came] = thing
            self.came += 1
            if len(places) > self._most:
                del self._things[places.popleft()]
            elif len(self._things) > self._kept:
                self._forget_oldest()

    def since(self, came: int) -> list[T]:
        """What is kept of that which came after so many had come, oldest first."""
        newest = takewhile(lambda place: place >= came, reversed(self._things))
        return [self._things[place] for place in newest][::-1]

    def _forget_oldest(self) -> None:
        _, thing = self._things.popitem(last=False)
        user_id = self._user_of(thing)
        self._places[user_id].popleft()
        if not self._places[user_id]:
            del self._places[user_id]


def bounded_total(counts: Iterable[int], most: int) -> int:
    """The sum of counts, one of each user, each taken as `most` at the highest."""
    return sum(min(count, most) for count in counts)
