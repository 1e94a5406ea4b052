"""What the ranker's features know of the items alone: made when a model is loaded, or the catalogue changes.

Positions count the model's items first, then the items that only the catalogue has (see `models.retrieval.shelf`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.ranking.attributes import AttributeTable

NO_CATEGORY = -1
MOST_CATEGORIES = 8  # of one item; further ones are left out, the rest in alphabetical order
_MEAN_WEIGHT = 5.0  # values of the overall mean that an item's own mean starts from


@dataclass(frozen=True)
class ItemStatistics:
    """What training saw of each item; part of the bundle.

    Attributes:
        counts: (n,) int64, users with a positive weight for the item.
        value_mean: (n,) float32, mean value (rating), drawn towards the mean of all; NaN where no event has a value.
        year: (n,) float32, NaN where unknown.
        first_ms: (n,) float64, time of the item's first event, NaN where there is none.
    """

    counts: np.ndarray
    value_mean: np.ndarray
    year: np.ndarray
    first_ms: np.ndarray


@dataclass(frozen=True)
class ItemTable:
    """The items' side of the features.

    Attributes:
        unit_factors: (n, f) float32, factors of length 1 (or 0).
        static: (n, 4) float32: log_count, count_share, value_mean, year.
        first_ms: (n,) float64.
        categories: (n, m) int32, columns of `category_columns`, padded with `NO_CATEGORY`.
        category_columns: category -> column.
        attributes: the items' attributes; None where the ranker reads none.
    """

    unit_factors: np.ndarray
    static: np.ndarray
    first_ms: np.ndarray
    categories: np.ndarray
    category_columns: Mapping[str, int]
    attributes: AttributeTable | None = None


def item_statistics(
    counts: np.ndarray, item: np.ndarray, times_ms: np.ndarray, values: np.ndarray, year: np.ndarray
) -> ItemStatistics:
    """Statistics from the events that the model was trained on.

    Args:
        counts: (n_items,) users with a positive weight.
        item, times_ms, values: (e,) events; values NaN where there are none.
        year: (n_items,) float32.
    """
    n_items = len(counts)
    valued = ~np.isnan(values)
    overall = float(values[valued].mean(dtype=np.float64)) if valued.any() else np.nan
    total = np.bincount(item[valued], values[valued].astype(np.float64), minlength=n_items)
    number = np.bincount(item[valued], minlength=n_items)
    mean = np.where(number > 0, (total + _MEAN_WEIGHT * overall) / (number + _MEAN_WEIGHT), np.nan)
    first_ms = np.full(n_items, np.inf)
    np.minimum.at(first_ms, item, times_ms.astype(np.float64))
    first_ms[np.isinf(first_ms)] = np.nan
    return ItemStatistics(counts.astype(np.int64), mean.astype(np.float32), year.astype(np.float32), first_ms)


def item_table(
    item_factors: np.ndarray,
    statistics: ItemStatistics,
    categories: Mapping[str, np.ndarray],
    extra_factors: np.ndarray | None = None,
    extra_added_ms: np.ndarray | None = None,
    attributes: AttributeTable | None = None,
) -> ItemTable:
    """The table of the model's items, followed by those that only the catalogue has.

    Args:
        item_factors: (n_items, f) float32.
        statistics: what training saw of the model's items.
        categories: category -> (m,) int64, rising: the positions of its items, below n_items + n_extra.
        extra_factors: (n_extra, f) float32, estimated.
        extra_added_ms: (n_extra,) when they were added.
        attributes: of all of them; None where the ranker reads none.
    """
    n_extra = 0 if extra_factors is None else len(extra_factors)
    factors = item_factors if extra_factors is None else np.concatenate([item_factors, extra_factors])
    factors = np.ascontiguousarray(factors, np.float32)
    norms = np.linalg.norm(factors, axis=1, keepdims=True)
    unit = np.divide(factors, norms, out=np.zeros_like(factors), where=norms > 0)
    added = np.full(n_extra, np.nan) if extra_added_ms is None else extra_added_ms.astype(np.float64)
    counts = np.concatenate([statistics.counts, np.zeros(n_extra, np.int64)]).astype(np.float32)
    unknown = np.full(n_extra, np.nan, np.float32)
    static = np.stack(
        [
            np.log1p(counts),
            counts / max(float(counts.max(initial=0)), 1.0),
            np.concatenate([statistics.value_mean, unknown]),
            np.concatenate([statistics.year, unknown]),
        ],
        axis=1,
    ).astype(np.float32)
    columns = {name: column for column, name in enumerate(sorted(categories))}
    members = _memberships(categories, columns, len(factors))
    first_ms = np.concatenate([statistics.first_ms, added], dtype=np.float64)
    return ItemTable(unit, static, first_ms, members, columns, attributes)


def _memberships(categories: Mapping[str, np.ndarray], columns: Mapping[str, int], n: int) -> np.ndarray:
    """(n, m) int32: the columns of each item's categories, padded with `NO_CATEGORY`."""
    number = np.zeros(n, np.int64)
    members = np.full((n, MOST_CATEGORIES), NO_CATEGORY, np.int32)
    for name, column in columns.items():
        rows = categories[name]
        rows = rows[number[rows] < MOST_CATEGORIES]
        members[rows, number[rows]] = column
        number[rows] += 1
    return np.ascontiguousarray(members[:, : max(1, int(number.max(initial=0)))])
