"""The cache of ordered lists: an entry counts only while all that it was made with is unchanged."""

import sys
import time
from collections import OrderedDict
from typing import NamedTuple

from deployments.recommend.ranked_list import RankedList

ENTRY_BYTES = 700
"""Of an entry without any text: the tuples, the lists' own heads, the place in the dictionary."""
ITEM_BYTES = 200
"""Of an item of a list or a pool beside its id: a score, its place in the lists, a pair in the pool."""


class _Entry(NamedTuple):
    user_version: int
    until_s: float
    ranked: RankedList
    size_bytes: int


class ListCache:
    """Lists by what was asked, valid only for the user version with which they were made. Least recently used go.

    Args:
        size: lists at most; 0 switches it off.
        age_s: how long a list is good. The user's own version catches every event of that user; this bounds how far the
            hour of the day and what is popular among all may have moved on.
        max_bytes: what all entries may use together, keys included; one that would take more than all is not kept.

    Attributes:
        used_bytes: what they use, by `entry_bytes`.
    """

    def __init__(self, size: int, age_s: float, max_bytes: int) -> None:
        self._size = size
        self._age_s = age_s
        self._max_bytes = max_bytes
        self._lists: OrderedDict[tuple[object, ...], _Entry] = OrderedDict()
        self.used_bytes = 0

    def __len__(self) -> int:
        return len(self._lists)

    def get(self, key: tuple[object, ...], user_version: int) -> RankedList | None:
        found = self._lists.get(key)
        if found is None or found.user_version != user_version or found.until_s < time.monotonic():
            return None
        self._lists.move_to_end(key)
        return found.ranked

    def put(self, key: tuple[object, ...], user_version: int, ranked: RankedList) -> None:
        size_bytes = entry_bytes(key, ranked)
        if (old := self._lists.pop(key, None)) is not None:
            self.used_bytes -= old.size_bytes
        if size_bytes > self._max_bytes:
            return  # it would drive out all others
        self._lists[key] = _Entry(user_version, time.monotonic() + self._age_s, ranked, size_bytes)
        self.used_bytes += size_bytes
        while len(self._lists) > self._size or self.used_bytes > self._max_bytes:
            self.used_bytes -= self._lists.popitem(last=False)[1].size_bytes


def entry_bytes(key: tuple[object, ...], ranked: RankedList) -> int:
    """What an entry uses, from above: texts as they are, and a fixed amount for each item and for the rest."""
    texts = sum(sys.getsizeof(part) for part in key) + sys.getsizeof(ranked.shown)
    ids = sum(map(sys.getsizeof, ranked.item_ids)) + sum(sys.getsizeof(item_id) for item_id, _ in ranked.pool)
    reasons = sum(sys.getsizeof(name) + ITEM_BYTES for reason in ranked.reasons for name, _ in reason)
    return ENTRY_BYTES + texts + ids + reasons + ITEM_BYTES * (len(ranked.item_ids) + len(ranked.pool))
