"""What items and users may carry beside their ids: attributes with a name and one of seven types.

HTTP, files and settings share these checks. A value is kept as JSON writes it: a number, a text, a list of texts or of
numbers, true or false; a time in milliseconds since 1970.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, get_args

from configs.groups.data_settings import AttributeType
from data.fields.ids import check_label, check_text
from data.fields.times import moment_ms

TYPES: tuple[AttributeType, ...] = get_args(AttributeType)
Schema = Mapping[str, AttributeType]
"""Attribute name -> its type."""
Value = float | int | str | bool | list[str] | list[float]

MAX_ATTRIBUTES = 50
MAX_TEXT_CHARS = 2000
MAX_KEYWORD_BYTES = 60
MAX_KEYWORDS = 50
MAX_VECTOR = 1536
"""Numbers of a vector. Each is kept with six digits, which take about ten bytes."""
MAX_OF_VECTOR = 1e30
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
RESERVED = frozenset(
    ("item_id", "user_id", "title", "categories", "genres", "year", "hidden", "deleted", "created_ms", "updated_ms")
)
"""Names that mean something else already."""


def check_schema(schema: Mapping[str, Any]) -> dict[str, AttributeType]:
    """The schema, if its names and types are such. Raises ValueError that names the attribute."""
    if len(schema) > MAX_ATTRIBUTES:
        raise ValueError(f"at most {MAX_ATTRIBUTES} attributes, not {len(schema)}")
    for name, kind in schema.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name}: an attribute's name has 1 to 40 small letters, digits and _, a letter first")
        if name in RESERVED:
            raise ValueError(f"{name}: is a field of its own and cannot be an attribute")
        if kind not in TYPES:
            raise ValueError(f"{name}: {kind!r} is no type; give one of {', '.join(TYPES)}")
    return dict(schema)


def check_attributes(given: Any, schema: Schema) -> dict[str, Value]:
    """The values in the form in which they are kept; those that are null are left away.

    Raises:
        ValueError: an attribute is not declared or its value is not of its type; names it.
    """
    if not isinstance(given, dict):
        raise ValueError("give an object")
    kept: dict[str, Value] = {}
    for name, value in given.items():
        if name not in schema:
            known = ", ".join(schema) or "none"
            raise ValueError(f"{name}: is not declared; declared are {known} (see GET /api/v1/catalogue)")
        if value is None:
            continue
        try:
            kept[name] = check_value(value, schema[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return kept


def check_value(value: Any, kind: AttributeType) -> Value:
    """A value of this type, as it is kept. Raises ValueError with the reason."""
    if kind == "number":
        if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
            raise ValueError(f"must be a number, not {_shown(value)}")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError("a whole number must fit into 64 bits")
        return value
    if kind == "flag":
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false, not {_shown(value)}")
        return value
    if kind == "time":
        return moment_ms(value)
    if kind == "keywords":
        if not isinstance(value, list | tuple):
            raise ValueError(f"must be a list of texts, not {_shown(value)}")
        if len(value) > MAX_KEYWORDS:
            raise ValueError(f"at most {MAX_KEYWORDS} texts, not {len(value)}")
        return list(dict.fromkeys(_keyword(entry) for entry in value))
    if kind == "keyword":
        return _keyword(value)
    if kind == "vector":
        return _vector(value)
    if not isinstance(value, str):
        raise ValueError(f"must be a text, not {_shown(value)}")
    if len(value) > MAX_TEXT_CHARS:
        raise ValueError(f"at most {MAX_TEXT_CHARS} characters, not {len(value)}")
    return check_text(value)


def _vector(value: Any) -> list[float]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list of numbers, not {_shown(value)}")
    if not 0 < len(value) <= MAX_VECTOR:
        raise ValueError(f"1 to {MAX_VECTOR} numbers, not {len(value)}")
    for place, entry in enumerate(value):
        if isinstance(entry, bool) or not isinstance(entry, int | float) or not _finite(entry):
            raise ValueError(f"number {place + 1} must be a number, not {_shown(entry)}")
        if abs(entry) > MAX_OF_VECTOR:
            raise ValueError(f"number {place + 1} must be at most {MAX_OF_VECTOR:g}, not {_shown(entry)}")
    return [six_digits(entry) for entry in value]


def six_digits(number: float) -> float:
    """The number as a vector keeps it."""
    return float(f"{number:.6g}")


def _keyword(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text, not {_shown(value)}")
    check_label(value)
    if not 0 < len(value.encode()) <= MAX_KEYWORD_BYTES or not value.strip():
        raise ValueError(f"{value[:40]!r} must hold 1 to {MAX_KEYWORD_BYTES} bytes")
    return value


def _finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
