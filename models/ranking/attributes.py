"""Attributes of items and users as columns of the ranker's features: one definition for training and for serving.

    UsedAttributes     which attributes are used and what numbers their values have: part of the bundle
    AttributeColumns   the values of all items, kept up to date item by item
    AttributeTable     those as arrays, for `models.ranking.block.attributes`

Numbers and flags are taken as they are, times as the days that have passed. A keyword is a category of LightGBM's own
kind: the values that a hundredth or more of those with any have got have a number each, all others share one. A rarer
value says little but who has it, and was learned by heart: with a random keyword of 2,000 values held-out NDCG@10 of
generated data fell by .01. Keywords, one or a list of them, are also matched with the user's history, rare values too.
Texts are left out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from data.fields.attributes import AttributeType, Schema, Value
from models.growing_array import GrowingArray

MOST_ATTRIBUTES = 12
"""Of items, and of users as well: those that most of them have."""
LEAST_SHARE = 0.01
"""Of those that have any value of a keyword, so many must have one for it to have a number of its own."""
MOST_VALUES = 8
"""Of a list of keywords of one item that are matched: the first in alphabetical order."""
NO_VALUE = -1
RANKED: tuple[AttributeType, ...] = ("number", "keyword", "keywords", "flag", "time")
"""The types that a ranker can read: all but text."""
_AS_NUMBER: tuple[AttributeType, ...] = ("number", "flag")
_MATCHED: tuple[AttributeType, ...] = ("keyword", "keywords")
Attributes = Mapping[str, Value]
"""Attribute -> its value, of one item or user; absent where there is none."""


class UsedAttribute(BaseModel):
    """An attribute that the ranker reads. `codes`: of a keyword, the values that have a number, in its
    order; none where it is only matched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    type: AttributeType
    codes: tuple[str, ...] = ()


class UsedAttributes(BaseModel):
    """The attributes that a ranker reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    items: tuple[UsedAttribute, ...] = ()
    users: tuple[UsedAttribute, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.items or self.users)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, in the order of their columns."""
        return (
            *(f"item.{one.name}" for one in self.coded),
            *(f"item.{one.name}.days" for one in self.times),
            *self.match_features,
            *self.user_features,
        )

    @property
    def match_features(self) -> tuple[str, ...]:
        """Those that compare an item with a history."""
        return tuple(f"item.{one.name}.match" for one in self.matched)

    @property
    def user_features(self) -> tuple[str, ...]:
        """Those of the user alone."""
        return tuple(f"user.{one.name}" for one in self.users)

    @property
    def categorical(self) -> tuple[str, ...]:
        """Those of the features whose values are the numbers of categories."""
        named = (*((f"item.{one.name}", one) for one in self.coded), *((f"user.{one.name}", one) for one in self.users))
        return tuple(name for name, one in named if one.type == "keyword")

    @property
    def coded(self) -> list[UsedAttribute]:
        """Of the items': numbers, flags and keywords with codes."""
        return [one for one in self.items if one.type in _AS_NUMBER or one.codes]

    @property
    def times(self) -> list[UsedAttribute]:
        """The items' attributes whose type is time."""
        return [one for one in self.items if one.type == "time"]

    @property
    def matched(self) -> list[UsedAttribute]:
        """The items' attributes that are matched with the history."""
        return [one for one in self.items if one.type in _MATCHED]


NO_ATTRIBUTES = UsedAttributes()


def choose_attributes(
    item_schema: Schema, items: Iterable[Attributes], user_schema: Schema, users: Iterable[Attributes]
) -> UsedAttributes:
    """The attributes that most items and users have, at most `MOST_ATTRIBUTES` of each.

    Of users, only numbers, flags and keywords can be used, the latter where any of their values is frequent enough to
    have a number. An attribute with one value throughout is left out.
    """
    items_used = _choose({name: kind for name, kind in item_schema.items() if kind in RANKED}, items)
    of_users = {name: kind for name, kind in user_schema.items() if kind in (*_AS_NUMBER, "keyword")}
    users_used = tuple(one for one in _choose(of_users, users) if one.type != "keyword" or one.codes)
    return UsedAttributes(items=items_used, users=users_used)


def _choose(schema: Schema, described: Iterable[Attributes]) -> tuple[UsedAttribute, ...]:
    counts: dict[str, Counter[Value | tuple[str, ...]]] = {name: Counter() for name in schema}
    for attributes in described:
        for name, value in attributes.items():
            if name in counts:
                counts[name][tuple(map(str, value)) if isinstance(value, list) else value] += 1
    told = [name for name in schema if len(counts[name]) > 1]
    told = sorted(told, key=lambda name: (-counts[name].total(), name))[:MOST_ATTRIBUTES]
    return tuple(UsedAttribute(name=name, type=schema[name], codes=_codes(schema, name, counts[name])) for name in told)


def _codes(schema: Schema, name: str, counts: Counter[Value | tuple[str, ...]]) -> tuple[str, ...]:
    if schema[name] != "keyword":
        return ()
    ordered = sorted(((str(value), count) for value, count in counts.items()), key=lambda pair: (-pair[1], pair[0]))
    least = LEAST_SHARE * counts.total()
    return tuple(value for value, count in ordered if count >= least)


@dataclass(frozen=True)
class AttributeTable:
    """The items' attributes, by position.

    Attributes:
        values: (n, v) float32, `UsedAttributes.coded`; NaN where unknown.
        times_ms: (n, t) float64, `UsedAttributes.times`; NaN where unknown.
        members: (n, w) int32, numbers of the values of `UsedAttributes.matched`, padded with `NO_VALUE`.
        edges: (m + 1,) int64, the columns of `members` that belong to each of them.
        sizes: (m,) int64, how many values each of them has.
        n_users: how many columns the users' attributes take.
        features: `UsedAttributes.features`.
    """

    values: np.ndarray
    times_ms: np.ndarray
    members: np.ndarray
    edges: np.ndarray
    sizes: np.ndarray
    n_users: int
    features: tuple[str, ...]


class AttributeColumns:
    """The items' attributes as arrays.

    Args:
        used: which attributes.
        n: how many items there are at first, all without any.
    """

    def __init__(self, used: UsedAttributes, n: int) -> None:
        self._used = used
        widths = [1 if one.type == "keyword" else MOST_VALUES for one in used.matched]
        self._edges = np.cumsum([0, *widths], dtype=np.int64)
        self._numbers: list[dict[str, int]] = [{} for _ in used.matched]  # grows with values that are new
        self._codes = [_code_numbers(one) for one in used.coded]
        self._values = GrowingArray(np.full((n, len(used.coded)), np.nan, np.float32), fill=np.nan)
        self._times_ms = GrowingArray(np.full((n, len(used.times)), np.nan), fill=np.nan)
        self._members = GrowingArray(np.full((n, int(self._edges[-1])), NO_VALUE, np.int32), fill=NO_VALUE)

    def update(self, places: Sequence[int], attributes: Sequence[Attributes], n: int) -> None:
        """Take over what some items have now.

        Args:
            places: positions, below `n`.
            attributes: what each of them has; another attribute than the used ones is left away.
            n: how many items there are now.
        """
        for array in (self._values, self._times_ms, self._members):
            array.grow(n)
        coded, times = list(zip(self._used.coded, self._codes, strict=True)), self._used.times
        edges = self._edges.tolist()
        matched = list(zip(self._used.matched, self._numbers, edges, edges[1:], strict=False))
        values, times_ms, members = self._values.values, self._times_ms.values, self._members.values
        for place, given in zip(places, attributes, strict=True):
            mine = dict(given.items())  # parsed once
            values[place] = [_coded(one, codes, mine) for one, codes in coded]
            times_ms[place] = [_coded(one, {}, mine) for one in times]
            row = [NO_VALUE] * members.shape[1]
            for one, known, first, end in matched:
                for column, value in enumerate(_values(mine.get(one.name))[: end - first], start=first):
                    row[column] = known.setdefault(value, len(known))
            members[place] = row

    def table(self) -> AttributeTable:
        """The arrays as they are now; the next `update` changes them."""
        sizes = np.array([len(known) for known in self._numbers], np.int64)
        return AttributeTable(
            self._values.values,
            self._times_ms.values,
            self._members.values,
            self._edges,
            sizes,
            len(self._used.users),
            self._used.features,
        )


def user_values(used: UsedAttributes, users: Sequence[Attributes]) -> np.ndarray:
    """(len(users), len(used.users)) float32: the columns of the users' attributes; NaN where unknown."""
    codes = [_code_numbers(one) for one in used.users]
    rows = [[_coded(one, of, mine) for one, of in zip(used.users, codes, strict=True)] for mine in users]
    return np.array(rows, np.float32).reshape(len(users), len(used.users))


def _code_numbers(one: UsedAttribute) -> dict[str, int]:
    return {value: number for number, value in enumerate(one.codes)}


def _coded(one: UsedAttribute, codes: Mapping[str, int], mine: Attributes) -> float:
    value = mine.get(one.name)
    if value is None or (one.type == "keyword") != isinstance(value, str) or isinstance(value, list):
        return np.nan  # unknown, or of the type that the attribute had before it was declared anew
    return float(codes.get(value, len(codes)) if isinstance(value, str) else value)


def _values(value: Value | None) -> list[str]:
    if isinstance(value, str):
        return [value]
    return sorted(map(str, value)) if isinstance(value, list) else []
