"""The check of `row_event` for many rows of a table at once: which rows are surely events, and what they say.

It only knows the common forms; a row in any other form, or with any fault, is left to `row_event`, which says what is
wrong. So a row that is found sure here means there what it means here; a test with random rows holds that.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.fields.cells import ABSENT, number_cell
from data.fields.ids import MAX_CHARS
from data.fields.times import EARLIEST_S, LATEST_S, milliseconds, moment_ms
from data.vocabulary import text_codes
from features.items.catalogue import Item
from features.recording.event_request import EventRules

# A dot or a plus may make a number with decimals of it, unless a letter comes first
_ID = re.compile(rf"[\w:@/#=-]{{1,{MAX_CHARS}}}|[A-Za-z][\w:@/#=.+-]{{0,{MAX_CHARS - 1}}}", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,15})?", re.ASCII)


@dataclass(frozen=True)
class SureRows:
    """What the n rows of a table say; only where `sure` does it mean anything.

    Attributes:
        sure: (n,) bool.
        user_id, item_id, event_type, event_id: texts; `event_id` is empty where the row gives none.
        value: (n,) float64, NaN where there is none.
        timestamp_ms: (n,) int64.
    """

    sure: np.ndarray
    user_id: pa.Array
    item_id: pa.Array
    event_type: pa.Array
    event_id: pa.Array
    value: np.ndarray
    timestamp_ms: np.ndarray


@dataclass(frozen=True)
class _Column:
    """(n,) each: the row gives something; it is in a common form; what it says."""

    given: np.ndarray
    good: np.ndarray
    values: np.ndarray


def sure_rows(table: pa.Table, rules: EventRules, items: Mapping[str, Item], now_ms: int) -> SureRows:
    """Check the rows of a table with columns among `data.imports.event_file.FIELDS`.

    Args:
        items: the catalogue.
    """
    users, item_ids, event_ids = (_texts(table, name, _ID.fullmatch) for name in ("user_id", "item_id", "event_id"))
    types = _texts(table, "event_type", rules.types.by_name.__contains__)
    sure = users.given & users.good & item_ids.given & item_ids.good & types.given & types.good
    sure &= event_ids.good | ~event_ids.given
    for name in ("recommendation_id", "context"):
        sure &= ~_texts(table, name, bool).given
    if not rules.open_catalogue:
        sure &= np.array([item_id in items for item_id in item_ids.values.tolist()], bool)
    values, fits = _values(table, types, rules)
    times, has_time = _times(table)
    sure &= fits & has_time & (times - now_ms <= rules.max_future_s * 1000)
    user_id, item_id, event_type, event_id = (
        pa.array(column.values, pa.string()) for column in (users, item_ids, types, event_ids)
    )
    return SureRows(sure, user_id, item_id, event_type, event_id, values, times)


def _texts(table: pa.Table, name: str, good: Callable[[str], object]) -> _Column:
    n = table.num_rows
    if name not in table.column_names:
        return _Column(np.zeros(n, bool), np.zeros(n, bool), np.full(n, "", object))
    column = table[name]
    kind = column.type
    if pa.types.is_null(kind) or (pa.types.is_integer(kind) and name in ("user_id", "item_id")):
        column = column.cast(pa.string())
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return _Column(np.ones(n, bool), np.zeros(n, bool), np.full(n, "", object))
    texts, codes = text_codes(pc.fill_null(column.cast(pa.string()), ""))
    given = np.array([text.strip() not in ABSENT for text in texts.tolist()], bool)
    fine = np.array([bool(good(text)) for text in texts.tolist()], bool) & given
    return _Column(given[codes], fine[codes], np.where(given, texts, "")[codes])


def _values(table: pa.Table, types: _Column, rules: EventRules) -> tuple[np.ndarray, np.ndarray]:
    """The value of each row, and whether its type takes it."""
    rating, value = (_numbers(table, name) for name in ("rating", "value"))
    found = np.where(rating.given, rating.values, value.values)
    given = rating.given | value.given
    fits = (rating.good | ~rating.given) & (value.good | ~value.given) & ~(rating.given & value.given)
    for name, kind in rules.types.by_name.items():
        mine = types.values == name
        if not mine.any():
            continue
        if kind.value is None:
            fits &= ~mine | ~given
        else:
            inside = (found >= kind.value.min) & (found <= kind.value.max)
            fits &= ~mine | np.where(given, inside, not kind.value.required)
        if name != "rating":
            fits &= ~mine | ~rating.given
    return np.where(given, found, np.nan), fits


def _numbers(table: pa.Table, name: str) -> _Column:
    if name in table.column_names and (pa.types.is_floating(table[name].type) or _is_small_integer(table, name)):
        values = pc.fill_null(table[name].cast(pa.float64()), np.nan).to_numpy()
        return _Column(~np.isnan(values), np.isfinite(values), values)
    texts = _texts(table, name, _NUMBER.fullmatch)
    return _read(texts, float, np.zeros(table.num_rows))


def _read(texts: _Column, read: Callable[[str], float], values: np.ndarray) -> _Column:
    """The numbers in texts, each distinct one read once; `values` (n,) is written to."""
    distinct, codes = text_codes(pa.chunked_array([pa.array(np.where(texts.good, texts.values, ""), pa.string())]))
    found, good = np.zeros(len(distinct), values.dtype), np.zeros(len(distinct), bool)
    for place, text in enumerate(distinct.tolist()):
        try:
            found[place], good[place] = read(text), True
        except (ValueError, OverflowError):
            continue
    values[:] = found[codes]
    return _Column(texts.given, texts.good & good[codes], values)


def _is_small_integer(table: pa.Table, name: str) -> bool:
    return name in table.column_names and pa.types.is_integer(table[name].type) and table[name].type.bit_width <= 32


def _times(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The moment of each row in ms, and whether the row gives just one that is surely one."""
    moments, ms = _moments(table, "timestamp", moment_ms), _moments(table, "timestamp_ms", milliseconds)
    known = (moments.given ^ ms.given) & np.where(moments.given, moments.good, ms.good)
    return np.where(moments.given, moments.values, ms.values), known


def _moments(table: pa.Table, name: str, read: Callable[[Any], int]) -> _Column:
    n, nothing = table.num_rows, np.zeros(table.num_rows, np.int64)
    if name not in table.column_names:
        return _Column(np.zeros(n, bool), np.zeros(n, bool), nothing)
    column = table[name]
    if pa.types.is_timestamp(column.type) and name == "timestamp":
        given = pc.is_valid(column).to_numpy()
        try:
            values = pc.fill_null(column.cast(pa.timestamp("ms", column.type.tz)).cast(pa.int64()), 0).to_numpy()
        except pa.ArrowInvalid:  # finer than ms, or beyond its range
            return _Column(given, np.zeros(n, bool), nothing)
        return _Column(given, given & (values >= EARLIEST_S * 1000) & (values < LATEST_S * 1000), values)
    if pa.types.is_integer(column.type):
        column = column.cast(pa.string())
    return _read(_texts(pa.table({name: column}), name, bool), lambda text: read(number_cell(text)), nothing)
