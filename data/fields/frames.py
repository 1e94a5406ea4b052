"""Attributes in a table of a data set, row by row."""

import pandas as pd

from data.fields.attributes import Schema, Value


def frame_attributes(frame: pd.DataFrame, schema: Schema) -> list[dict[str, Value]]:
    """The attributes of each row of a data set's items or users (see `data.dataset`), without those that are null."""
    rows: list[dict[str, Value]] = [{} for _ in range(len(frame))]
    for name, kind in schema.items():
        for row, value in zip(rows, frame[name].tolist(), strict=True):
            if kind == "keywords":
                if value is not None:
                    row[name] = [str(one) for one in value]
            elif not pd.isna(value):
                row[name] = int(value) if kind == "time" else value
    return rows
