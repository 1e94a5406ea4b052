"""JSON lines: each line an object, whose fields are the columns."""

import codecs
import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from data.dataset import DataError
from data.sources.batches import RowBatch, SourceTable
from data.sources.csv_rows import column_names

BATCH_ROWS = 20_000
LONGEST_LINE = 4_000_000


def open_json_lines(name: str, chunks: Iterator[bytes]) -> SourceTable:
    """The columns are the fields of the first 20,000 objects; later fields that are none of these are left out.

    Raises:
        DataError: it is empty, or not one of the first rows is a JSON object.
    """
    batches = _rows(lines_of(chunks))
    first = next(batches, None)
    if first is None:
        raise DataError(f"{name}: it is empty")
    rows, numbers, refused = first
    if not rows:
        raise DataError(f"{name}: row {refused[0][0]}: {refused[0][1]}; give one JSON object a line")
    given = list(dict.fromkeys(field for row in rows for field in row))
    names = column_names(name, given)
    return SourceTable(name, names, (_batch(part, given, names) for part in chain([(rows, numbers, refused)], batches)))


def lines_of(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of a text without their ends and without a byte order mark. Raises `DataError` for an endless one."""
    rest = next(chunks, b"").removeprefix(codecs.BOM_UTF8)
    for chunk in chain([b""], chunks):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        yield from lines
        if len(rest) > LONGEST_LINE:
            raise DataError(f"a line is longer than {LONGEST_LINE:,} bytes; give one JSON object a line")
    if rest:
        yield rest


_Part = tuple[list[dict[str, Any]], list[int], list[tuple[int, str]]]


def _rows(lines: Iterator[bytes]) -> Iterator[_Part]:
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    refused: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except RecursionError:
            refused.append((number, "it is not valid JSON: too many brackets in one another"))
        except ValueError as error:
            refused.append((number, f"it is not valid JSON: {error}"))
        else:
            if b"\\u" in line and _has_half_character(row):
                refused.append((number, "holds half of a character, as of an emoji that was cut"))
            elif isinstance(row, dict):
                rows.append(row)
                numbers.append(number)
            else:
                refused.append((number, "it is not a JSON object"))
        if len(rows) + len(refused) == BATCH_ROWS:
            yield rows, numbers, refused
            rows, numbers, refused = [], [], []
    if rows or refused:
        yield rows, numbers, refused


def _batch(part: _Part, given: list[str], names: list[str]) -> RowBatch:
    rows, numbers, refused = part
    columns = {name: _column([row.get(field) for row in rows]) for name, field in zip(names, given, strict=True)}
    return RowBatch(pa.table(columns), np.array(numbers, np.int64), refused)


def _column(values: list[Any]) -> pa.Array:
    """The values with their type where they all have one; else as texts. Objects, which differ from row to row, stand
    in a struct with their text; nothing reads what is in them."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {str}:
        return pa.array(values, pa.string())
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pa.array(values, pa.int64())
    if kinds == {float}:
        return pa.array(values, pa.float64())
    if kinds == {list} and all(isinstance(one, str) for value in values if value is not None for one in value):
        return pa.array(values, pa.list_(pa.string()))
    found = pa.array([value if value is None or isinstance(value, str) else _as_text(value) for value in values])
    if kinds <= {dict, list} and any(_holds_object(value) for value in values):
        return pa.StructArray.from_arrays([found], ["object"], mask=found.is_null())
    return found


def _holds_object(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict) for one in value))


def _has_half_character(row: Any) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _as_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
