"""Rows of files of events that a user brings along, each as what a client would send over HTTP.

JSON lines are read one by one: a broken line is reported while the others are read, and a value is what it is, so that
a number among text ids is seen.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from data.dataset import DataError
from data.fields.json_keys import marked, repeated_key, without_repeats, words_of

FIELDS = (
    "user_id",
    "item_id",
    "event_type",
    "timestamp",
    "timestamp_ms",
    "value",
    "rating",
    "event_id",
    "recommendation_id",
    "context",
)
"""The columns that a table may have. One of `timestamp` and `timestamp_ms` must be there."""
NEEDED = ("user_id", "item_id", "event_type")
Row = dict[str, Any] | DataError
"""The fields of a row, or why it cannot be read."""


def json_rows(lines: Iterable[bytes]) -> Iterator[Row]:
    """The objects of JSON lines; empty lines are no rows."""
    for line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except RecursionError:
            yield DataError("it is not valid JSON: too many brackets in one another")
            continue
        except ValueError as error:
            yield DataError(f"it is not valid JSON: {error}")
            continue
        if not isinstance(row, dict):
            yield DataError("it is not a JSON object")
        elif not without_repeats(line, row) and (twice := repeated_key(marked(line, row))) is not None:
            yield DataError(words_of(twice))
        else:
            yield row


def rows_of(batch: pa.RecordBatch | pa.Table) -> Iterator[Row]:
    """The rows of a batch, without what holds nothing."""
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException) as error:
        if batch.num_rows == 1:
            yield DataError(f"a value of it cannot be read: {error}")
            return
        for place in range(
            batch.num_rows
        ):  # find the row that Python has no value for, such as a time in the year 300000
            yield from rows_of(batch.slice(place, 1))
        return
    for row in rows:
        yield {name: value for name, value in row.items() if value not in ("", None)}


def is_ours(names: Iterable[str]) -> bool:
    """Whether the columns of a file are called as the fields of an event are, so that no map is needed."""
    given = set(names)
    return given.issuperset(NEEDED) and bool(given & {"timestamp", "timestamp_ms"})


def check_columns(file: str, names: Iterable[str]) -> None:
    """Raises `DataError` for a column that is none of `FIELDS`, and for one that is missing."""
    if unknown := [name for name in names if name not in FIELDS]:
        if re.fullmatch(r"column \d+", unknown[0]):
            raise DataError(f"{file}: row 1: {unknown[0]} has no name; leave out a column of row numbers")
        raise DataError(f"{file}: unknown column {unknown[0]!r}; known are {', '.join(FIELDS)}")
    for name in NEEDED:
        if name not in names:
            raise DataError(f"{file}: the column {name} is missing")
