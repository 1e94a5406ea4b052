"""Columns of cells as ids, times and numbers: whole columns at once, in the meaning of `data.fields` for one cell.

Each function gives the values and, for the rows that have none, why. What pyarrow reads otherwise than `data.fields`
goes through `data.fields`, once for each text.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.fields.cells import ABSENT, id_cell, is_object, number_cell
from data.fields.ids import check_id
from data.fields.times import EARLIEST_S, LATEST_S, UNITS_PER_S, day_ms, moment_ms
from data.mapping.strptime import parsed

Faults = dict[int, str]
"""Place of a row -> why its cell cannot be taken."""
# Texts that need a closer look: blank, an object of JSON, with control characters, one of the path's steps, a number
# with decimals, long.
_ODD_ID = r"^\s*$|^\s*[{]|[\x00-\x1f\x7f]|^\.\.?$|^\s*-?\d+(\.\d+)?([eE]\+?\d+)?\s*$|.{150,}"
_PLAIN_WHOLE = r"^-?[0-9]{1,18}$"
COMMA_NUMBER = r"^[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)(,[0-9]+)?$"
OBJECT = "an object: name a plain column; nested fields must be flattened before"
_ABSENT = pa.array(sorted(ABSENT))


def is_nested(kind: pa.DataType) -> bool:
    """Whether cells of this type hold objects, or lists of them."""
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return pa.types.is_struct(kind) or pa.types.is_map(kind) or (lists and is_nested(kind.value_type))


def objects(column: pa.ChunkedArray) -> np.ndarray:
    """(n,) bool: which cells hold an object, or the text of one."""
    values = _flat(column)
    if is_nested(values.type):
        return _numpy(pc.is_valid(values))
    found = np.zeros(len(values), bool)
    if pa.types.is_string(values.type):
        for place in np.flatnonzero(_numpy(pc.fill_null(pc.match_substring_regex(values, r"^\s*\{"), False))):
            found[place] = is_object(values[int(place)].as_py())
    return found


def ids(column: pa.ChunkedArray) -> tuple[pa.Array, Faults]:
    """Ids as texts; null where there is none."""
    values = _flat(column)
    kind = values.type
    if pa.types.is_decimal(kind):
        return _each(values, _id_text)
    if pa.types.is_integer(kind):
        return _none_missing(values.cast(pa.string()))
    if not pa.types.is_string(kind):
        return _each(values, _id_text)
    coded = values.dictionary_encode()
    texts = coded.dictionary
    odd = pc.fill_null(pc.match_substring_regex(texts, _ODD_ID), False)
    odd = pc.or_(odd, pc.is_in(texts, _ABSENT))
    odd = pc.and_(odd, pc.invert(pc.match_substring_regex(texts, _PLAIN_WHOLE)))
    if not pc.any(odd).as_py():
        return _none_missing(values)
    whys: dict[str, str] = {}
    for text in texts.filter(odd).to_pylist():
        try:
            _id_text(text)
        except ValueError as error:
            whys[text] = str(error)
    bad = pc.fill_null(pc.is_in(values, pa.array(list(whys), pa.string())), False)
    faults = {int(place): whys[values[int(place)].as_py()] for place in np.flatnonzero(_numpy(bad))}
    good, missing = _none_missing(pc.if_else(bad, pa.scalar(None, pa.string()), values))
    return good, missing | faults


def times(column: pa.ChunkedArray, form: str | None = None) -> tuple[np.ndarray, Faults]:
    """Times as (n,) int64 milliseconds since 1970, 0 where there is none.

    Args:
        column: dates and times by their type, texts or numbers.
        form: of texts, as `strptime` knows it.
    """
    values = _flat(column)
    kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _moments(values)
    if pa.types.is_decimal(kind):
        values = values.cast(pa.float64())
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return _numbers_ms(values)
    if not pa.types.is_string(kind):
        return _each_time(values)
    values = _without_absent(values)
    if form is not None:
        given, wrong = parsed(values, form)
        found, faults = _moments(given)
        found[list(wrong)] = 0
        return found, faults | wrong
    if pc.all(pc.match_substring_regex(values, _PLAIN_WHOLE)).as_py():
        return _numbers_ms(values.cast(pa.int64()))
    plain = pc.utf8_rtrim(values, "Z") if pc.all(pc.ends_with(values, "Z")).as_py() else values
    if pc.all(pc.match_substring_regex(plain, r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?$")).as_py():
        try:
            return _moments(plain.cast(pa.timestamp("us")))
        except pa.ArrowInvalid:
            pass  # a day that does not exist: look at each
    return _each_time(values)


def numbers(column: pa.ChunkedArray, decimal: str | None = None) -> tuple[np.ndarray, Faults]:
    """Numbers as (n,) float64, NaN where there is none.

    Args:
        decimal: "," for texts as 95,01 and 1.234,5; otherwise a point.
    """
    values = _flat(column)
    if decimal == "," and pa.types.is_string(values.type):
        return _comma_numbers(_without_absent(values))
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        found = _numpy(pc.fill_null(values.cast(pa.float64(), safe=False), np.nan))
        return found, {int(place): "is not a finite number" for place in np.flatnonzero(np.isinf(found))}
    if not pa.types.is_string(values.type):
        return np.full(len(values), np.nan), dict.fromkeys(range(len(values)), "is not a number")
    values = _without_absent(values)
    try:
        if pc.all(pc.match_substring_regex(values, r"^-?[0-9]+(\.[0-9]+)?$")).as_py() is not False:
            return _numpy(pc.fill_null(values.cast(pa.float64()), np.nan)), {}
    except pa.ArrowInvalid:
        pass

    def number(text: str) -> float:
        found = number_cell(text)
        if isinstance(found, str) or not np.isfinite(float(found)):
            raise ValueError("is not a number")
        return float(found)

    found, faults = _each(values, number, pa.float64(), missing=None)
    return _numpy(pc.fill_null(found, np.nan)), faults


def _comma_numbers(values: pa.Array) -> tuple[np.ndarray, Faults]:
    right = pc.fill_null(pc.match_substring_regex(values, COMMA_NUMBER), False)
    plain = pc.replace_substring(pc.replace_substring(values, ".", ""), ",", ".")
    found = pc.if_else(right, pc.utf8_ltrim(plain, "+"), pa.scalar(None, pa.string())).cast(pa.float64())
    wrong = _numpy(pc.and_(pc.is_valid(values), pc.invert(right)))
    words = "is not a number with a decimal comma, as the column's other numbers are"
    return _numpy(pc.fill_null(found, np.nan)), dict.fromkeys(map(int, np.flatnonzero(wrong)), words)


def texts(column: pa.ChunkedArray) -> pa.Array:
    """Texts without white space at their ends, null where a cell stands for nothing or holds an object."""
    values = _flat(column)
    if is_nested(values.type):
        return pa.nulls(len(values), pa.string())
    if pa.types.is_fixed_size_list(values.type) or pa.types.is_large_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    if pa.types.is_list(values.type):
        values = pc.binary_join(values.cast(pa.list_(pa.string())), ", ")
    if pa.types.is_floating(values.type):  # a column of whole numbers in which some are missing
        whole = pc.all(pc.equal(values, pc.floor(values))).as_py()
        values = values.cast(pa.int64(), safe=False) if whole else values
    return _without_absent(pc.utf8_trim_whitespace(values.cast(pa.string())))


def _moments(values: pa.Array) -> tuple[np.ndarray, Faults]:
    found = values.cast(pa.timestamp("ms"), safe=False) if pa.types.is_date(values.type) else values
    zone = getattr(found.type, "tz", None)
    if zone is not None:
        found = found.cast(pa.timestamp(found.type.unit, "UTC"))
    whole = found.cast(pa.int64())
    per_ms = {"s": 1000, "ms": 1, "us": -1000, "ns": -1_000_000}[found.type.unit]
    given = _numpy(pc.fill_null(whole, 0))
    ms = given * per_ms if per_ms > 0 else given // -per_ms
    missing = _numpy(pc.is_null(values))
    early = (ms < EARLIEST_S * 1000) & ~missing
    late = (ms >= LATEST_S * 1000) & ~missing
    faults = dict.fromkeys(map(int, np.flatnonzero(missing)), "there is no time")
    faults |= {int(place): f"{values[int(place)]} lies before 1990" for place in np.flatnonzero(early)}
    faults |= {int(place): f"{values[int(place)]} is out of range" for place in np.flatnonzero(late)}
    return np.where(missing | early | late, 0, ms), faults


def _numbers_ms(values: pa.Array) -> tuple[np.ndarray, Faults]:
    """The size of each number says its unit, as in `data.fields.times`."""
    missing = _numpy(pc.is_null(values, nan_is_null=True))
    given = _numpy(pc.fill_null(values, 0))
    ms, known = np.zeros(len(given), np.int64), np.zeros(len(given), bool)
    for units in UNITS_PER_S:
        fits = (given >= EARLIEST_S * units) & (given < LATEST_S * units) & ~missing
        part = given[fits]
        ms[fits] = np.rint(part * (1000 / units)) if units <= 1000 else part.astype(np.int64) // (units // 1000)
        known |= fits
    faults = dict.fromkeys(map(int, np.flatnonzero(missing)), "there is no time")
    rest = np.flatnonzero(~known & ~missing)
    distinct, which = np.unique(given[rest], return_inverse=True)
    groups = np.split(rest[np.argsort(which, kind="stable")], np.cumsum(np.bincount(which, minlength=1))[:-1])
    for value, places in zip(distinct.tolist(), groups, strict=False):  # days as 20240131, and what is no time
        day = day_ms(value) if np.isfinite(value) else None
        if day is not None:
            ms[places] = day
            continue
        try:
            moment_ms(value)
        except ValueError as error:
            faults |= dict.fromkeys(map(int, places), str(error))
    return ms, faults


def _each_time(values: pa.Array) -> tuple[np.ndarray, Faults]:
    found, faults = _each(values, lambda value: _named(value, moment_ms), pa.int64(), missing="there is no time")
    return _numpy(pc.fill_null(found, 0)), faults


def _named(value: Any, read: Callable[[Any], int]) -> int:
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{str(value)[:40]!r}: {error}") from None


def _each(
    values: pa.Array, read: Callable[[Any], Any], kind: pa.DataType | None = None, missing: str | None = "is empty"
) -> tuple[pa.Array, Faults]:
    """Every cell by a function for one cell, asked once for each value."""
    try:
        given = values.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):
        given = [_python(value) for value in values]
    known: dict[Any, Any] = {}
    whys: dict[Any, str] = {}
    found: list[Any] = []
    faults: Faults = {}
    for place, value in enumerate(given):
        key = value if isinstance(value, str | int | float | bool) else repr(value)
        if value is None:
            if missing is not None:
                faults[place] = missing
        elif key not in known and key not in whys:
            try:
                known[key] = read(value)
            except ValueError as error:
                whys[key] = str(error)
        if value is not None and key in whys:
            faults[place] = whys[key]
        found.append(known.get(key) if value is not None else None)
    return pa.array(found, kind or pa.string()), faults


def _python(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        return str(value)


def _id_text(value: Any) -> str:
    value = id_cell(value)
    if isinstance(value, dict) or (isinstance(value, str) and is_object(value)):
        raise ValueError(f"is {OBJECT}")
    if isinstance(value, list):
        raise ValueError("is a list and no id: name a plain column; lists must be unfolded into rows before")
    if isinstance(value, str) and value.strip() in ABSENT:
        raise ValueError("is empty" if not value.strip() else f"{value!r} stands for nothing")
    if isinstance(value, float):
        raise ValueError(
            f"{value!r} is a number with decimals and no id: write whole numbers as such "
            '(in pandas with astype("Int64"))'
        )
    try:
        return str(check_id(value))
    except ValueError as error:
        raise ValueError(f"{str(value)[:40]!r} is no id: {error}") from None


def _none_missing(values: pa.Array) -> tuple[pa.Array, Faults]:
    if not values.null_count:
        return values, {}
    return values, dict.fromkeys(map(int, np.flatnonzero(_numpy(pc.is_null(values)))), "is empty")


def _without_absent(values: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.is_in(trimmed, _ABSENT), pa.scalar(None, pa.string()), trimmed)


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type):
        values = values.cast(pa.string())
    return values


def _numpy(values: pa.Array) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False)
