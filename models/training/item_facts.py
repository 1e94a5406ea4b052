"""What is known of the items beside their events: the catalogue, aligned with a vocabulary."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from data.matrix import pairs_to_mask
from data.vocabulary import Vocabulary


@dataclass(frozen=True)
class ItemFacts:
    """What is known of the items beside events, by position in the vocabulary.

    Attributes:
        year: (n_items,) float32, NaN where unknown.
        categories: category -> (m,) int64, rising: the positions of its items. A mask each would take n_items bytes of
            every category.
    """

    year: np.ndarray
    categories: dict[str, np.ndarray]

    @property
    def memberships(self) -> sp.csr_matrix:
        """(n_items, C) float32, columns in alphabetical order."""
        members = [self.categories[name] for name in sorted(self.categories)]
        rows = np.concatenate([np.empty(0, np.int64), *members])
        columns = np.repeat(np.arange(len(members)), [len(mine) for mine in members])
        return pairs_to_mask(rows, columns, len(self.year), len(members))


def item_facts(
    items: Vocabulary,
    item_ids: Iterable[str],
    years: Iterable[int | float | None],
    categories: Iterable[Iterable[str]],
) -> ItemFacts:
    """The facts of a catalogue's items, given one after another; items outside the vocabulary are left away."""
    n_items = len(items)
    year = np.full(n_items, np.nan, np.float32)
    found: dict[str, list[int]] = {}
    for place, its_year, names in zip(items.encode(item_ids).tolist(), years, categories, strict=True):
        if place >= 0:
            year[place] = np.nan if its_year is None else its_year
            for name in names:
                found.setdefault(name, []).append(place)
    return ItemFacts(year, {name: np.unique(np.array(members, np.int64)) for name, members in found.items()})


def frame_facts(items: Vocabulary, frame: pd.DataFrame | None) -> ItemFacts:
    """The facts of a data set's items (see `data.dataset`); None where it has no catalogue."""
    if frame is None:
        return item_facts(items, [], [], [])
    years = frame["year"].to_numpy(np.float32, na_value=np.nan).tolist()
    return item_facts(items, frame["item_id"], years, frame["categories"])
