"""Files of events that a user brings along: CSV, JSON lines or Parquet, row by row.

pyarrow reads Parquet only. Its `read_json` gives up the whole file at a broken line, which is reported here while the
others are read, and at a number among text ids. Its `read_csv` refuses a row whose last values are left out, reads
`"i2"x` as i2x without a word, and takes the id 007 for 7 unless each column's type is given.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.dataset import DataError

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
"""What a row may hold; empty text counts as absent. One of `timestamp` and `timestamp_ms` must be there."""
Row = dict[str, Any] | DataError
"""The fields of a row, or why it cannot be read."""


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows with their numbers, from 1; a CSV file's header has none.

    Raises:
        DataError: the file's kind is unknown, it is not readable at all, or it has a column that is none of `FIELDS`.
    """
    readers = {".csv": _read_csv, ".parquet": _read_parquet, ".jsonl": _read_json_lines, ".ndjson": _read_json_lines}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: give a .csv, .jsonl, .ndjson or .parquet file")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    return enumerate(reader(path), 1)


def _read_csv(path: Path) -> Iterator[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", strict=True)
            _check_columns(path, reader.fieldnames or ())
            for row in reader:
                if "" in row:
                    yield DataError(f"more values than the {len(reader.fieldnames or ())} columns of the header")
                else:
                    yield {name: value for name, value in row.items() if value not in ("", None)}
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: it is no CSV file in UTF-8: {error}") from error


def _read_json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                yield DataError(f"it is not valid JSON: {error}")
                continue
            if not isinstance(row, dict):
                yield DataError("it is not a JSON object")
            elif unknown := set(row) - set(FIELDS):
                yield DataError(f"unknown field {sorted(unknown)[0]!r}")
            else:
                yield {name: value for name, value in row.items() if value not in ("", None)}


def _read_parquet(path: Path) -> Iterator[Row]:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: it is no Parquet file: {error}") from error
    with file:
        _check_columns(path, file.schema_arrow.names)
        for batch in file.iter_batches(10_000):
            for row in batch.to_pylist():
                yield {name: value for name, value in row.items() if value not in ("", None)}


def _check_columns(path: Path, names: Any) -> None:
    if unknown := [name for name in names if name not in FIELDS]:
        raise DataError(f"{path}: unknown column {unknown[0]!r}; known are {', '.join(FIELDS)}")
    for name in ("user_id", "item_id", "event_type"):
        if name not in names:
            raise DataError(f"{path}: the column {name} is missing")
