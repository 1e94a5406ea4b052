"""Files of events that a user brings along: CSV, JSON lines or Parquet, row by row.

pyarrow reads Parquet only. Its `read_json` gives up the whole file at a broken line, which is reported here while the
others are read, and at a number among text ids. Its `read_csv` refuses a row whose last values are left out, reads
`"i2"x` as i2x without a word, and takes the id 007 for 7 unless each column's type is given.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.dataset import DataError
from data.fields.json_keys import marked, repeated_key, without_repeats, words_of
from data.sources.csv_rows import column_names, read_csv

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
JSON_LINES = (".jsonl", ".ndjson")
Row = dict[str, Any] | DataError
"""The fields of a row, or why it cannot be read."""


def is_typed(path: Path) -> bool:
    """Whether the values of the file's rows are what they are, as in JSON, and not cells to be read."""
    return path.suffix.lower() in JSON_LINES


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows with their numbers, from 1; a CSV file's header has none.

    Raises:
        DataError: the file's kind is unknown, it is not readable at all, or it has a column that is none of `FIELDS`.
    """
    readers = {".csv": _read_csv, ".parquet": _read_parquet, **dict.fromkeys(JSON_LINES, _read_json_lines)}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: give a .csv, .jsonl, .ndjson or .parquet file")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    return enumerate(reader(path), 1)


def _read_csv(path: Path) -> Iterator[Row]:
    names, rows = read_csv(path)
    check_columns(path, names)
    for line, cells in rows:
        if isinstance(cells, DataError):
            yield DataError(f"line {line}: {cells}")
        else:
            yield {name: cell for name, cell in zip(names, cells, strict=True) if cell != ""}


def _read_json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for line in file:
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


def _read_parquet(path: Path) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            names = column_names(path, file.schema_arrow.names)
            check_columns(path, names)
            for batch in file.iter_batches(10_000):
                yield from rows_of(batch.rename_columns(names))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: it is no whole Parquet file: {error}") from error


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


def check_columns(path: Path, names: list[str]) -> None:
    """Raises `DataError` for a column that is none of `FIELDS`, and for one that is missing."""
    if unknown := [name for name in names if name not in FIELDS]:
        raise DataError(f"{path}: unknown column {unknown[0]!r}; known are {', '.join(FIELDS)}")
    for name in ("user_id", "item_id", "event_type"):
        if name not in names:
            raise DataError(f"{path}: the column {name} is missing")
