"""Further sources of candidates, behind the best by the factors and what is trending: the same in training and serving.

How many each source gives is found out in training, and kept in the manifest (`models.training.source_choice`).
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from models.ranking.item_relations import ItemRelations
from models.relations.past_events import PastEvents, had_before
from models.relations.top_k import TopK, strongest_of

LATEST = 10
"""Latest distinct items of a history whose relations give candidates; each counts .8 of the one after it."""
_SHARES = (0.8 ** np.arange(LATEST)).astype(np.float32)


NEW_ITEMS = 10
"""Items that the model does not know, at most, that `near` gives beside its number: no training has met such lists."""


class MoreSources(BaseModel):
    """How many candidates each further source gives, at most."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repeats: int = Field(0, ge=0, le=1000, description="what the user had before, where it may come again")
    follows: int = Field(0, ge=0, le=1000, description="what comes most often after the user's latest items")
    neighbours: int = Field(0, ge=0, le=1000, description="what the users of the latest items took up as well")
    near: int = Field(
        0, ge=0, le=1000, description="what others took up within minutes of the user's latest items, counted live"
    )

    @property
    def total(self) -> int:
        """Candidates of all of them together, at most."""
        return self.repeats + self.follows + self.neighbours + self.near + (NEW_ITEMS if self.near else 0)

    @property
    def related(self) -> bool:
        """Whether any of them needs the relations between items."""
        return self.follows + self.neighbours > 0


NO_MORE = MoreSources()
SourceName = Literal["repeats", "follows", "neighbours", "near"]
Nearest = Callable[[int | None], np.ndarray]
"""Gives the nearest items, the nearest first: so many of them, or all for None."""
_FIRST_LOOK = 256  # of the nearest items; nearly always enough of them may be shown


def more_candidates(
    more: MoreSources,
    relations: ItemRelations | None,
    recent: np.ndarray,
    past: PastEvents,
    may_come: Callable[[np.ndarray], np.ndarray],
    nearest: Nearest | None = None,
    is_new: Callable[[np.ndarray], np.ndarray] = lambda items: np.zeros(len(items), bool),
) -> Iterator[tuple[SourceName, np.ndarray]]:
    """For each source that is on its candidates, best first, none of them twice.

    Args:
        recent: (r,) int64, the latest distinct items that speak for interest, the latest first, -1 padded.
        past: read where `repeats` is on.
        may_come: of (m,) items, whether each may be shown and is no candidate yet.
        nearest: read where `near` is on; None where nothing is counted.
        is_new: of (m,) items, whether the model does not know each.
    """
    taken = np.empty(0, np.int64)

    def open_among(items: np.ndarray) -> np.ndarray:
        items = items[may_come(items)]
        return items[~np.isin(items, taken)] if len(taken) else items

    for name, number in (("repeats", more.repeats), ("follows", more.follows), ("neighbours", more.neighbours)):
        if not number:
            continue
        if name == "repeats":
            found = had_before(past)
        else:
            found = _related(None if relations is None else getattr(relations, name_of_table(name)), recent)
        found = open_among(found)[:number]
        taken = np.concatenate([taken, found])
        yield name, found  # type: ignore[misc]
    if more.near and nearest is not None:
        for most in (_FIRST_LOOK, None):
            looked = nearest(most)
            found = open_among(looked)
            new = is_new(found)
            known = found[~new]
            if len(known) >= more.near or len(looked) < _FIRST_LOOK:
                break
        yield "near", np.concatenate([known[: more.near], found[new][:NEW_ITEMS]])


def name_of_table(source: str) -> str:
    """The table of `ItemRelations` that a source reads."""
    return {"follows": "following", "neighbours": "neighbours"}[source]


def _related(table: TopK | None, recent: np.ndarray) -> np.ndarray:
    if table is None:
        return np.empty(0, np.int64)
    latest = np.ascontiguousarray(recent[:LATEST], np.int64)
    return strongest_of(table, latest, _SHARES[: len(latest)])
