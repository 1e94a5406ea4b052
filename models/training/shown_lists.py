"""Lists that were shown, and which of their items were taken up, as arrays."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

DEEPEST = 20
"""Places of a list that are looked at; further down hardly anything is taken up, and hardly anybody looks."""


@dataclass(frozen=True)
class ShownLists:
    """L lists, by time.

    Attributes:
        user: (L,) int64, position in the vocabulary.
        shown_ms: (L,) float64, the clock when the list was made: it knew of what the store had taken before.
        at_ms: (L,) float64, the moment as of which the list was made (`models.ranking.features.moment`).
        settled_ms: (L,) float64, when the last of it that was taken up was.
        items: (L, DEEPEST) int64 in the order shown; -1 where the list ends or the item is unknown.
        taken: (L, DEEPEST) bool.
        propensity: (L, DEEPEST) float64, with which the place got its item.
        devices: (L,) as the requests' contexts named them.
    """

    user: np.ndarray
    shown_ms: np.ndarray
    at_ms: np.ndarray
    settled_ms: np.ndarray
    items: np.ndarray
    taken: np.ndarray
    propensity: np.ndarray
    devices: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.user)

    def some(self, chosen: np.ndarray) -> "ShownLists":
        """The lists of these numbers."""
        return ShownLists(
            self.user[chosen],
            self.shown_ms[chosen],
            self.at_ms[chosen],
            self.settled_ms[chosen],
            self.items[chosen],
            self.taken[chosen],
            self.propensity[chosen],
            [self.devices[number] for number in chosen.tolist()],
        )

    @property
    def fingerprint(self) -> str:
        """sha256 over the lists and which of their items were taken up."""
        digest = hashlib.sha256(orjson.dumps(list(self.devices)))
        for array in (self.user, self.at_ms, self.items, self.taken, self.propensity):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def stack(lists: Sequence[ShownLists]) -> ShownLists:
    """The lists of all parts, one after another."""
    return ShownLists(
        np.concatenate([np.empty(0, np.int64), *(one.user for one in lists)]),
        np.concatenate([np.empty(0), *(one.shown_ms for one in lists)]),
        np.concatenate([np.empty(0), *(one.at_ms for one in lists)]),
        np.concatenate([np.empty(0), *(one.settled_ms for one in lists)]),
        np.concatenate([np.empty((0, DEEPEST), np.int64), *(one.items for one in lists)]),
        np.concatenate([np.empty((0, DEEPEST), bool), *(one.taken for one in lists)]),
        np.concatenate([np.empty((0, DEEPEST)), *(one.propensity for one in lists)]),
        [device for one in lists for device in one.devices],
    )
