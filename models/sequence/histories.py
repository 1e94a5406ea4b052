"""Events cut into sequences: the same rule for training, judging and serving."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class UserSequences:
    """Sequences one after another: `items` (n,) int32, that of user u from `starts[u]` to `starts[u + 1]`."""

    items: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def some(self, users: np.ndarray) -> "UserSequences":
        """Those of the users (k,), in this order."""
        parts = [self.items[self.starts[user] : self.starts[user + 1]] for user in users.tolist()]
        sizes = [len(part) for part in parts]
        return UserSequences(
            np.concatenate([np.empty(0, np.int32), *parts]), np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        )


def sequence_of(events: np.ndarray, speaking: np.ndarray, length: int) -> np.ndarray:
    """The latest `length` of one user's events that a model reads, the latest last.

    An item that comes twice in a row (viewed, then bought) counts once.

    Args:
        events: (m,) int item positions in the order of the events.
        speaking: (s,) rising, the items that speak for interest; the events of all others are left out.
    """
    if not len(events) or not len(speaking):
        return events[:0]
    place = np.minimum(np.searchsorted(speaking, events), len(speaking) - 1)
    events = events[speaking[place] == events]
    kept = np.ones(len(events), bool)
    kept[1:] = events[1:] != events[:-1]
    return events[kept][-length:]


def sequences_of(user: np.ndarray, item: np.ndarray, turn: np.ndarray, n_users: int) -> UserSequences:
    """Everybody's sequences, whole.

    Args:
        user, item: (n,) of events that speak for interest.
        turn: (n,) each event's place in the order of all.
    """
    order = np.lexsort((turn, user))
    user, item = user[order], item[order].astype(np.int32)
    kept = np.ones(len(user), bool)
    kept[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    starts = np.concatenate([[0], np.cumsum(np.bincount(user[kept], minlength=n_users), dtype=np.int64)])
    return UserSequences(item[kept], starts)
