"""Items and users as a data set describes them: its columns as the catalogue and the store keep them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from data.dataset import Dataset
from data.fields.attributes import AttributeType, Value
from features.items.catalogue import Item


def catalogue_items(dataset: Dataset) -> Iterator[Item]:
    """The data set's items, as the catalogue lists them."""
    columns = dataset.items[["item_id", "title", "year", "categories", "added_ms"]].itertuples(index=False)
    described = attributes_of(dataset.items, dataset.item_attributes)
    for (item_id, title, year, categories, added_ms), attributes in zip(columns, described, strict=True):
        known_year = None if pd.isna(year) else int(year)
        added = 0 if pd.isna(added_ms) else int(added_ms)
        yield Item(item_id, title, known_year, tuple(categories), created_ms=added, attributes=attributes)


def described_users(dataset: Dataset) -> Iterator[tuple[str, dict[str, Value]]]:
    """User id and attributes of the users of whom the data set knows any."""
    for user_id, attributes in zip(
        dataset.users["user_id"], attributes_of(dataset.users, dataset.user_attributes), strict=True
    ):
        if attributes:
            yield user_id, attributes


def attributes_of(frame: pd.DataFrame, schema: Mapping[str, AttributeType]) -> Iterator[dict[str, Value]]:
    """Each row's attributes; a cell without a value is none of them."""
    columns = [_values(frame[name], kind) for name, kind in schema.items()]
    if not columns:
        yield from ({} for _ in range(len(frame)))
        return
    for row in zip(*columns, strict=True):
        yield {name: value for name, value in zip(schema, row, strict=True) if value is not None}


def _values(column: pd.Series, kind: AttributeType) -> list[Any]:
    if kind == "keywords":
        return [
            [str(entry) for entry in value] if isinstance(value, list | tuple | np.ndarray) else None
            for value in column
        ]
    convert: Any = {"number": float, "flag": bool, "time": int}.get(kind, str)
    absent = column.isna().to_numpy()
    return [None if missing else convert(value) for value, missing in zip(column, absent, strict=True)]
