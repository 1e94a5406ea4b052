"""What is known of the items beside their events: the catalogue, aligned with a vocabulary."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from data.fields.attributes import Schema
from data.matrix import pairs_to_mask
from data.vocabulary import Vocabulary
from models.content.description import NOTHING, Description
from models.ranking.attributes import (
    NO_ATTRIBUTES,
    AttributeColumns,
    Attributes,
    AttributeTable,
    UsedAttributes,
    choose_attributes,
    user_values,
)


@dataclass(frozen=True)
class KnownAttributes:
    """Attributes by position in the vocabularies, and which of them a ranker may read."""

    used: UsedAttributes
    items: Sequence[Attributes]
    users: Sequence[Attributes]

    @property
    def user_values(self) -> np.ndarray:
        """(n_users, u) float32; see `models.ranking.attributes.user_values`."""
        return user_values(self.used, self.users)


@dataclass(frozen=True)
class Described:
    """What is written of the items, by position in the vocabulary, and the types of their attributes."""

    items: Sequence[Description]
    schema: Schema


@dataclass(frozen=True)
class ItemFacts:
    """What is known of the items beside events, by position in the vocabulary.

    Attributes:
        year: (n_items,) float32, NaN where unknown.
        categories: category -> (m,) int64, rising: the positions of its items. A mask each would take n_items bytes of
            every category.
        attributes: of the items and users, and which of them a ranker may read; None where there are none.
        described: what is written of the items; None where nothing is, or nobody asks.
    """

    year: np.ndarray
    categories: dict[str, np.ndarray]
    attributes: "KnownAttributes | None" = None
    described: "Described | None" = None

    @property
    def used(self) -> UsedAttributes:
        """The attributes that a ranker may read."""
        return NO_ATTRIBUTES if self.attributes is None else self.attributes.used

    def attribute_table(self, used: UsedAttributes) -> AttributeTable | None:
        """The items' attributes for a ranker that reads these; None where it reads none."""
        if not used:
            return None
        columns = AttributeColumns(used, len(self.year))
        if self.attributes is not None:
            columns.update(range(len(self.year)), self.attributes.items, len(self.year))
        return columns.table()

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


def descriptions_of(
    items: Vocabulary, described: Iterable[tuple[str, Description]], schema: Schema
) -> Described | None:
    """What is written of the items of a vocabulary, given by id; None where nothing is written of any."""
    found = dict(described)
    mine = [found.get(str(item), NOTHING) for item in items.ids.tolist()]
    return Described(mine, schema) if any(one is not NOTHING for one in mine) else None


def frame_descriptions(frame: pd.DataFrame, attributes: Mapping[str, Attributes]) -> Iterator[tuple[str, Description]]:
    """What is written of a data set's items, with their ids.

    Args:
        frame: see `data.dataset`.
        attributes: of each item, by id.
    """
    years = frame["year"].to_numpy(np.float64, na_value=np.nan)
    for item_id, title, year, names in zip(frame["item_id"], frame["title"], years, frame["categories"], strict=True):
        known_year = None if np.isnan(year) else int(year)
        yield item_id, Description(title, known_year, tuple(names), attributes.get(item_id, {}))


def known_attributes(
    items: Vocabulary,
    item_attributes: Mapping[str, Attributes],
    item_schema: Schema,
    users: Vocabulary,
    user_attributes: Mapping[str, Attributes],
    user_schema: Schema,
) -> KnownAttributes | None:
    """The attributes of the items and users that have events, given by id; None where nothing could be read."""
    of_items = [item_attributes.get(str(item), {}) for item in items.ids.tolist()]
    of_users = [user_attributes.get(str(user), {}) for user in users.ids.tolist()]
    used = choose_attributes(item_schema, of_items, user_schema, of_users)
    return KnownAttributes(used, of_items, of_users) if used or any(of_items) else None
