"""One user's request for candidates, and which positions it may return."""

from dataclasses import dataclass, field

import numpy as np

from models.relations.past_events import NO_PAST, PastEvents
from models.retrieval.shelf import Shelf

SMALL = 65_536  # items; up to here a mask of all of them is quicker than looking up what is excluded
_NOTHING = np.empty(0, np.int64)
_NO_WEIGHTS = np.empty(0, np.float32)


@dataclass(frozen=True)
class Query:
    """One user's request, in positions of a `Shelf`.

    Attributes:
        items: (m,) positions that speak for interest, with `weights` (m,) float32 > 0.
        exclude: positions not to be returned (seen, refused, named by the caller).
        trained_user: row of the trained user factors, -1 if the user was not trained.
        include_categories: only items in any of these (None: all).
        new_items: (p,) positions, unknown to the model, that speak for interest, with `new_weights` (p,) float32 > 0.
            They speak through their estimated factors where nothing else is known of the user.
        recent: (r,) int64, the latest distinct of `items`, the latest first, -1 padded; read, as is the next, where
            further sources give candidates.
        past: what the user had before.
        sequence: (m,) what a sequence model reads (`models.sequence.histories.sequence_of`); read by no other.
        latest_rows: (LATEST,) rows of the latest items in the near counts, -1 padded; read where these give
            candidates.
    """

    items: np.ndarray
    weights: np.ndarray
    exclude: np.ndarray
    n: int
    trained_user: int = -1
    include_categories: tuple[str, ...] | None = None
    exclude_categories: tuple[str, ...] = ()
    new_items: np.ndarray = field(default_factory=lambda: _NOTHING)
    new_weights: np.ndarray = field(default_factory=lambda: _NO_WEIGHTS)
    recent: np.ndarray = field(default_factory=lambda: _NOTHING)
    past: PastEvents = NO_PAST
    latest_rows: np.ndarray = field(default_factory=lambda: _NOTHING)
    sequence: np.ndarray = field(default_factory=lambda: _NOTHING)


class Filter:
    """Which positions one query may return. Of a large catalogue, the mask is only built when somebody needs it."""

    def __init__(self, query: Query, shelf: Shelf) -> None:
        self._shelf = shelf
        self._exclude = query.exclude
        self._include: np.ndarray | None = None
        if query.include_categories is not None:
            self._include = np.zeros(len(shelf.visible), bool)
            for category in query.include_categories:
                if category in shelf.categories:
                    self._include[shelf.categories[category]] = True
        found = (shelf.categories.get(name, _NOTHING) for name in query.exclude_categories)
        self._without = [category for category in found if len(category)]
        self._mask: np.ndarray | None = None
        if len(shelf.visible) <= SMALL:
            self._mask = self._build()
        else:
            self._exclude = np.sort(query.exclude)

    def allows(self, items: np.ndarray) -> np.ndarray:
        """(k,) bool for positions (k,)."""
        if self._mask is not None:
            return self._mask[items]
        result = self._shelf.visible[items]
        if len(self._exclude):
            result &= ~_holds(self._exclude, items)
        if self._include is not None:
            result &= self._include[items]
        for category in self._without:
            result &= ~_holds(category, items)
        return result

    def mask(self) -> np.ndarray:
        """(n,) bool over all positions."""
        return self._build() if self._mask is None else self._mask

    def _build(self) -> np.ndarray:
        mask = self._shelf.visible.copy()
        mask[self._exclude] = False
        if self._include is not None:
            mask &= self._include
        for category in self._without:
            mask[category] = False
        return mask


def _holds(rising: np.ndarray, items: np.ndarray) -> np.ndarray:
    """(k,) bool: which of the items (k,) are among `rising`, of which there is at least one."""
    place = np.searchsorted(rising, items)
    place[place == len(rising)] = 0
    return rising[place] == items
