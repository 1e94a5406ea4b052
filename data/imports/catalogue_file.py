"""Files of items or users that a user brings along: CSV, JSON lines or Parquet, row by row, each as over HTTP.

A column is a field of its own or a declared attribute. Cells of CSV and Parquet are read by the type of their column.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.dataset import DataError
from data.fields.attributes import Schema
from data.fields.cells import flag_cell, id_cell, is_absent, number_cell, text_cell, whole_cell
from data.sources.csv_rows import column_names, read_csv

ITEM_FIELDS = ("item_id", "title", "categories", "genres", "year", "hidden")
USER_FIELDS = ("user_id",)
JSON_LINES = (".jsonl", ".ndjson")
_CELLS = {
    "item_id": id_cell,
    "user_id": id_cell,
    "title": text_cell,
    "year": whole_cell,
    "hidden": flag_cell,
    "number": number_cell,
    "flag": flag_cell,
    "time": number_cell,
    "text": text_cell,
    "keyword": text_cell,
}
"""How a cell is read, by the name of its column or the type of its attribute."""
_LISTS = ("categories", "genres", "keywords")
Row = dict[str, Any] | DataError
"""The fields of an item or user, as HTTP takes them, or why the row cannot be read."""


class CatalogueFile:
    """A file of items or of users.

    Args:
        fields: `ITEM_FIELDS` or `USER_FIELDS`.
        schema: the attributes that may be columns.
        separator: what stands between the parts of a list within a cell of text.
    """

    def __init__(self, path: Path, fields: tuple[str, ...], schema: Schema, separator: str = "|") -> None:
        self._path = path
        self._fields = fields
        self._schema = schema
        self._separator = separator

    def rows(self) -> Iterator[tuple[int, Row]]:
        """The rows with their numbers, from 1; a CSV file's header has none.

        Raises:
            DataError: the file's kind is unknown, it is not readable at all, or a column is unknown.
        """
        readers = {".csv": self._csv, ".parquet": self._parquet, **dict.fromkeys(JSON_LINES, self._json_lines)}
        reader = readers.get(self._path.suffix.lower())
        if reader is None:
            raise DataError(f"{self._path}: give a .csv, .jsonl, .ndjson or .parquet file")
        if not self._path.is_file():
            raise DataError(f"{self._path}: there is no such file")
        return enumerate(reader(), 1)

    def _csv(self) -> Iterator[Row]:
        names, rows = read_csv(self._path)
        self._check_columns(names)
        for line, cells in rows:
            if isinstance(cells, DataError):
                yield DataError(f"line {line}: {cells}")
            else:
                yield self._read(dict(zip(names, cells, strict=True)))

    def _parquet(self) -> Iterator[Row]:
        try:
            with pq.ParquetFile(self._path) as file:
                names = column_names(self._path, file.schema_arrow.names)
                self._check_columns(names)
                for batch in file.iter_batches(10_000):
                    for row in batch.rename_columns(names).to_pylist():
                        yield self._read(row)
        except (OSError, OverflowError, pa.ArrowException) as error:
            raise DataError(f"{self._path}: it is no whole Parquet file: {error}") from error

    def _json_lines(self) -> Iterator[Row]:
        with self._path.open("rb") as file:
            for line in file:
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield DataError(f"it is not valid JSON: {error}")
                    continue
                yield self._nested(row) if isinstance(row, dict) else DataError("it is not a JSON object")

    def _check_columns(self, names: list[str]) -> None:
        known = (*self._fields, *self._schema)
        if unknown := [name for name in names if name not in known]:
            attributes = ", ".join(self._schema) or "none"
            raise DataError(
                f"{self._path}: unknown column {unknown[0]!r}; known are {', '.join(self._fields)} and the attributes "
                f"that the settings or the data set declare: {attributes}"
            )
        for name in self._fields[:2]:
            if name not in names:
                raise DataError(f"{self._path}: the column {name} is missing")

    def _read(self, cells: dict[str, Any]) -> Row:
        """The cells that hold something, as JSON would have them."""
        return self._nested({name: self._cell(name, cell) for name, cell in cells.items() if not is_absent(cell)})

    def _cell(self, name: str, cell: Any) -> Any:
        kind = name if name in self._fields else self._schema[name]
        if kind in _LISTS:
            return _parts(cell, self._separator) if isinstance(cell, str) else cell
        return _CELLS[kind](cell)

    def _nested(self, row: dict[str, Any]) -> Row:
        """The row with its attributes in an object of their own, as over HTTP; what is unknown stays, to be refused."""
        described = {name: value for name, value in row.items() if name in self._schema}
        fields = {name: value for name, value in row.items() if name not in described}
        given = fields.get("attributes", {})
        return {**fields, "attributes": {**given, **described} if isinstance(given, dict) else given}


def _parts(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]
