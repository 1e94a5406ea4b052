"""Moments as people and programs write them, in milliseconds since 1970. HTTP, files of events and `--train` share it.

A number's size says its unit: seconds, milliseconds, microseconds and nanoseconds since 1970 cannot be taken for one
another between 1990 and 2262. A whole number that is none of these and looks like 20240131 is a date.
"""

import math
import re
from datetime import UTC, date, datetime
from typing import Any

EARLIEST_S = 631_152_000  # 1990-01-01: what seems older is nearly always a number with another meaning
LATEST_S = 9_214_646_400  # 2262-01-01, about where 64 bits of nanoseconds end
UNITS_PER_S = (1, 1_000, 1_000_000, 1_000_000_000)
NUMBER = re.compile(r"[+-]?\d{1,40}(\.\d{0,40})?([eE][+-]?\d{1,3})?")
FORMS = "give seconds since 1970, ISO 8601 as in 2026-01-31T12:00:00Z, or a date as in 20260131"


def moment_ms(value: Any) -> int:
    """Milliseconds since 1970. A date is its midnight, and a time without a zone is in UTC.

    Raises:
        ValueError: it is no time, or lies before 1990; says why.
    """
    if isinstance(value, str):
        return _text_ms(value)
    if isinstance(value, bool):
        raise ValueError(FORMS)
    if isinstance(value, int | float):
        return _number_ms(value)
    if isinstance(value, datetime):
        return _checked(value, value)
    if isinstance(value, date):
        return _checked(datetime(value.year, value.month, value.day), value)
    raise ValueError(FORMS)


def number(text: str) -> int | float:
    """The number in a text that `NUMBER` matches; whole ones keep all their digits."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def milliseconds(value: Any) -> int:
    """A moment that its field's name says to be in milliseconds since 1970. Raises ValueError."""
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        value = number(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        raise ValueError("give milliseconds since 1970")
    if not EARLIEST_S * 1000 <= value < LATEST_S * 1000:
        raise ValueError(f"{value} would be {_day(value / 1000)}; give milliseconds since 1970, from 1990 on")
    return round(value)


def day_ms(value: int | float) -> int | None:
    """The midnight of a date that is written as a whole number, as in 20240131; None if it is none."""
    if 19_900_101 <= value < 22_620_101 and value == int(value):
        year, rest = divmod(int(value), 10_000)
        try:
            return int(datetime(year, *divmod(rest, 100), tzinfo=UTC).timestamp()) * 1000
        except ValueError:
            return None
    return None


def _text_ms(text: str) -> int:
    if text[4:5] != "-":  # the form of nearly all dates, which is quicker to ask for than that of numbers
        text = text.strip()
        if NUMBER.fullmatch(text):
            return _number_ms(number(text))
    if len(text) > 40:  # Python reads hundreds of digits as a date with a fraction of a second
        raise ValueError(FORMS)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(FORMS) from None
    return _checked(found, text)


def _number_ms(value: int | float) -> int:
    if not _finite(value):
        raise ValueError(FORMS)
    for units in UNITS_PER_S:
        if EARLIEST_S * units <= value < LATEST_S * units:
            return round(value * 1000 / units) if units <= 1000 else int(value) * 1000 // units
    found = day_ms(value)
    if found is None:
        raise ValueError(f"{_shown(value)} would be {_day(value)} in seconds since 1970; {FORMS}, from 1990 on")
    return found


def _checked(found: datetime, shown: Any) -> int:
    try:
        seconds = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        raise ValueError(f"{shown} is out of range") from None
    if seconds < EARLIEST_S:
        raise ValueError(f"{shown} lies before 1990")
    return round(seconds * 1000)


def _finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False


def _shown(value: int | float) -> str:
    return f"{value}" if abs(value) < 1e30 else f"{value:.3g}"


def _day(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (OverflowError, ValueError, OSError):
        return "out of range"
