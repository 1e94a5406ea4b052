"""The cache of ordered lists: an entry counts only while all that it was made with is unchanged."""

import time
from collections import OrderedDict

from deployments.recommend.ranked_list import RankedList


class ListCache:
    """Lists by what was asked, valid only for the user version with which they were made. Least recently used go.

    Args:
        size: lists at most; 0 switches it off.
        age_s: how long a list is good. The user's own version catches every event of that user; this bounds how far the
            hour of the day and what is popular among all may have moved on.
    """

    def __init__(self, size: int, age_s: float) -> None:
        self._size = size
        self._age_s = age_s
        self._lists: OrderedDict[tuple[object, ...], tuple[int, float, RankedList]] = OrderedDict()

    def get(self, key: tuple[object, ...], user_version: int) -> RankedList | None:
        found = self._lists.get(key)
        if found is None or found[0] != user_version or found[1] < time.monotonic():
            return None
        self._lists.move_to_end(key)
        return found[2]

    def put(self, key: tuple[object, ...], user_version: int, ranked: RankedList) -> None:
        self._lists[key] = (user_version, time.monotonic() + self._age_s, ranked)
        self._lists.move_to_end(key)
        while len(self._lists) > self._size:
            self._lists.popitem(last=False)
