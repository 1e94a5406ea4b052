"""Cells of a table whose columns have no types: what stands for nothing, and what is a number.

A CSV cell is read as the JSON value that it would be, so that it is accepted or refused as over HTTP.
"""

import json
import math
import re
from decimal import Decimal
from typing import Any

from data.fields.times import NUMBER, number

ABSENT = frozenset(
    ("", "NA", "N/A", "#N/A", "<NA>", "n/a", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", "NaT", "undefined")
)
"""What programs write where there is no value."""
# 196.0, 1.96e2 and 1e+05 are whole numbers that went through a table of decimals. 5e1 is left alone: no program
# writes a whole number so, and a hexadecimal id may look like it.
_DECIMAL = re.compile(r"-?\d+(\.\d+([eE][+-]?\d+)?|[eE]\+\d+)")


def is_absent(value: Any) -> bool:
    """Whether a cell of a CSV or Parquet table holds nothing."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and value.strip() in ABSENT)


def is_object(text: str) -> bool:
    """Whether a cell's text is a JSON object, which a nested field of other people's data is written as."""
    if not text.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False  # as a UUID in braces


def id_cell(value: Any) -> Any:
    """An id from a cell: as it stands, and a number with decimals if that is what it seems to be.

    Such a number is no id, neither here nor over HTTP: 196.0 and 196 would be two users.
    """
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()) and float(value).is_integer():
        return float(value)
    return value


def text_cell(value: Any) -> Any:
    """A text from a cell of a column that some program took for one of whole numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def number_cell(value: Any) -> Any:
    """A number from a cell; what is none stays as it stands, to be refused."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        return number(value.strip())
    return value


def vector_cell(value: Any, separator: str | None = None) -> Any:
    """A list of numbers from a cell, with spaces, commas or `separator` between them and perhaps brackets around; what
    is none stays as it stands, to be refused."""
    if not isinstance(value, str):
        return value
    parts = value.strip().removeprefix("[").removesuffix("]")
    parts = parts.replace(separator or ",", " ").replace(",", " ")
    numbers = [number_cell(part) for part in parts.split()]
    return numbers if numbers and not any(isinstance(one, str) for one in numbers) else value


FLAGS = dict.fromkeys(("true", "t", "yes", "y", "1", "1.0"), True) | dict.fromkeys(
    ("false", "f", "no", "n", "0", "0.0"), False
)
"""What a word in a cell of a flag means."""


def flag_cell(value: Any) -> Any:
    """True or false from a cell; what is neither stays as it stands, to be refused."""
    if isinstance(value, str):
        return FLAGS.get(value.strip().lower(), value)
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else value


def whole_cell(value: Any) -> Any:
    """A whole number from a cell; one with decimals that are 0 went through a column with empty cells."""
    value = number_cell(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def json_cell(value: Any) -> Any:
    """A JSON object from a cell. Raises ValueError."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError("must be a JSON object") from None
