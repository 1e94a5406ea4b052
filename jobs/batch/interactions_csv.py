"""Interactions from a CSV as people have them: columns user, item and, where there are any, rating and timestamp."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from data.dataset import DataError
from data.fields.cells import id_cell, is_absent
from data.fields.ids import check_id
from data.fields.times import EARLIEST_S, LATEST_S, UNITS_PER_S, day_ms
from data.sources.csv_rows import read_csv

_LOWEST, _HIGHEST = 0.5, 5.0  # the scale that configs/events.yaml knows ratings on
_COUNTS_ABOVE = 100.0  # values that go beyond this are amounts (plays, purchases), not ratings


def read_interactions(path: Path, note: Callable[[str], None] = print) -> pd.DataFrame:
    """The CSV in canonical form (see `data.dataset`), one row for each (user, item): the latest.

    Ratings on another scale than 0.5 to 5 are brought to that one; values beyond 100 are amounts, which say that there
    was an interaction and nothing else. Without ratings every row is a `purchase`. Timestamps take any form of
    `data.fields.times`; smaller numbers only give the order, and without any the order of the rows stands in for time.

    Args:
        note: is told what looks odd and is taken all the same.

    Raises:
        DataError: names file, row (the number of its line; the header is row 1) and column.
    """
    read = _read(path, ("user", "item"), ("rating", "timestamp"))
    columns, n_rows = read.columns, len(read.lines)
    value = _ratings(read) if "rating" in columns else None
    times = _times(read, note) if "timestamp" in columns else np.arange(n_rows, dtype=np.int64) * 1000
    found = pd.DataFrame(
        {
            "user_id": columns["user"],
            "item_id": columns["item"],
            "event_type": "purchase" if value is None else "rating",
            "value": np.float32("nan") if value is None else value,
            "timestamp_ms": times,
        }
    )
    latest = found.sort_values("timestamp_ms", kind="stable").drop_duplicates(["user_id", "item_id"], keep="last")
    return latest.sort_index().reset_index(drop=True)


@dataclass(frozen=True)
class _Read:
    """Columns of a CSV as texts, (n,) each, and the line in which each row begins."""

    path: Path
    columns: dict[str, pd.Series]
    lines: "array[int]"

    def refuse(self, column: str, bad: np.ndarray, what: str) -> None:
        """Raise `DataError` for the first bad row, if there is one."""
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            shown = f"{self.columns[column].iloc[row]!r} {what}"
            raise DataError(f"{self.path}: row {self.lines[row]}, column {column!r}: {shown}")


def _read(path: Path, needed: Sequence[str], optional: Sequence[str]) -> _Read:
    """Columns of ids, which are needed, and others."""
    try:
        names, rows = read_csv(path)
        if missing := [name for name in needed if name not in names]:
            raise DataError(f"{path}: row 1: there is no column {missing[0]!r}; it has {', '.join(names)}")
        wanted = [name for name in (*needed, *optional) if name in names]
        places = [names.index(name) for name in wanted]
        columns: list[list[str]] = [[] for _ in wanted]
        texts: dict[str, str] = {}  # each text once: an id stands in thousands of rows
        lines = array("q")
        for line, cells in rows:
            if isinstance(cells, DataError):
                raise DataError(f"{path}: row {line}: {cells}")
            lines.append(line)
            for column, place in zip(columns, places, strict=True):
                column.append(texts.setdefault(cells[place], cells[place]))
    except OSError as error:
        raise DataError(f"{path}: it cannot be read: {error}") from error
    if not lines:
        raise DataError(f"{path}: it has no rows")
    read = _Read(path, {name: pd.Series(column) for name, column in zip(wanted, columns, strict=True)}, lines)
    for name in needed:
        ids = read.columns[name]
        faults = {text: fault for text in ids.unique() if (fault := _id_fault(text))}
        bad = ids.isin(faults.keys()).to_numpy() if faults else np.zeros(len(ids), bool)
        read.refuse(name, bad, faults[ids[int(np.flatnonzero(bad)[0])]] if faults else "")
    return read


def _id_fault(text: str) -> str | None:
    """What keeps a text from being an id, as in files of events."""
    if not text.strip():
        return "is empty"
    if is_absent(text):
        return "stands for nothing"
    try:
        check_id(id_cell(text))
    except ValueError as error:
        return f"is no id: {error}"
    return None


def _ratings(read: _Read) -> np.ndarray | None:
    """(n,) float32 in 0.5 to 5; None where the column does not hold ratings."""
    numbers = pd.to_numeric(read.columns["rating"], errors="coerce").to_numpy(float)
    read.refuse("rating", ~np.isfinite(numbers), "is not a number")
    low, high = float(numbers.min()), float(numbers.max())
    if high > _COUNTS_ABOVE or low == high:
        return None
    if low < _LOWEST or high > _HIGHEST:
        numbers = _LOWEST + (numbers - low) * (_HIGHEST - _LOWEST) / (high - low)
    return numbers.astype(np.float32)


def _times(read: _Read, note: Callable[[str], None]) -> np.ndarray:
    """(n,) int64 milliseconds."""
    column = read.columns["timestamp"]
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(float)
    numeric = np.isfinite(numbers)
    dates = pd.to_datetime(column.where(~numeric), errors="coerce", utc=True, format="ISO8601")
    if numeric.sum() >= max(1, dates.notna().sum()):
        read.refuse("timestamp", ~numeric, "is not a number, as most are")
        return _times_of_numbers(read, numbers, note)
    read.refuse("timestamp", numeric, "is a number where most are dates like 1998-04-23T12:00")
    words = "is neither a number nor a date like 1998-04-23T12:00"
    read.refuse("timestamp", dates.isna().to_numpy(), words)
    times = np.asarray(dates.astype("datetime64[ms, UTC]").astype(np.int64), np.int64)
    if times.min() < EARLIEST_S * 1000:
        note(f"{read.path}: timestamps reach back to {dates.min().date()}, before 1990: is that so?")
    return times


def _times_of_numbers(read: _Read, numbers: np.ndarray, note: Callable[[str], None]) -> np.ndarray:
    """(n,) int64 milliseconds: the size of each number says its unit."""
    times, known = np.zeros(len(numbers)), np.zeros(len(numbers), bool)
    for units in UNITS_PER_S:
        fits = (numbers >= EARLIEST_S * units) & (numbers < LATEST_S * units)
        times[fits], known[fits] = numbers[fits] * (1000 / units), True
    distinct, place = np.unique(numbers, return_inverse=True)
    days = np.array([np.nan if day is None else day for day in map(day_ms, distinct.tolist())], np.float64)[place]
    is_day = ~known & ~np.isnan(days)
    if is_day.sum() > len(numbers) / 2:
        read.refuse("timestamp", ~is_day, "is no date, as most are (20240131)")
        return days.astype(np.int64)
    if not known.any() and not is_day.any() and np.abs(numbers).max() < EARLIEST_S:
        span = f"from {numbers.min():g} to {numbers.max():g}"
        note(f"{read.path}: timestamps {span} are no times since 1990, and only give the order")
        times, known[:] = numbers * 1000, True
    read.refuse("timestamp", ~known, "is no time since 1990 in seconds, milli-, micro- or nanoseconds since 1970")
    return np.rint(times).astype(np.int64)


def read_user_column(path: Path) -> list[str]:
    """The users of a CSV with a column user, each once, in its order. Raises `DataError` as `read_interactions`."""
    return list(dict.fromkeys(_read(path, ("user",), ()).columns["user"].tolist()))
