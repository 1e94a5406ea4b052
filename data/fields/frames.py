"""Attributes in a table of a data set, row by row."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from configs.groups.data_settings import AttributeType
from data.fields.attributes import Schema, Value, six_digits

_PART = 10_000


def frame_attributes(frame: pd.DataFrame, schema: Schema) -> Iterator[dict[str, Value]]:
    """Each row's attributes in a data set's items or users (see `data.dataset`), without those that are null."""
    if not schema:
        yield from ({} for _ in range(len(frame)))
        return
    for start in range(0, len(frame), _PART):  # as Python's values, a whole table would take several times its memory
        part = frame.iloc[start : start + _PART]
        columns = [_values(part[name], kind) for name, kind in schema.items()]
        for row in zip(*columns, strict=True):
            yield {name: value for name, value in zip(schema, row, strict=True) if value is not None}


def _values(column: pd.Series, kind: AttributeType) -> list[Any]:
    if kind == "keywords":
        return [
            [str(entry) for entry in value] if isinstance(value, list | tuple | np.ndarray) else None
            for value in column
        ]
    if kind == "vector":
        return [
            [six_digits(entry) for entry in value] if isinstance(value, list | tuple | np.ndarray) else None
            for value in column
        ]
    convert: Any = {"number": float, "flag": bool, "time": int}.get(kind, str)
    absent = column.isna().to_numpy()
    return [None if missing else convert(value) for value, missing in zip(column, absent, strict=True)]
