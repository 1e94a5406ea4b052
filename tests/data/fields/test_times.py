from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.fields.times import EARLIEST_S, LATEST_S, UNITS_PER_S, milliseconds, moment_ms

NOVEMBER_MS = 1_700_000_000_000  # 2023-11-14T22:13:20Z
MIDNIGHT_MS = 1_699_920_000_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_700_000_000, NOVEMBER_MS),
        (1_700_000_000.25, NOVEMBER_MS + 250),
        (1_700_000_000.001, NOVEMBER_MS + 1),
        (1_700_000_000_000, NOVEMBER_MS),
        (1_700_000_000_123, NOVEMBER_MS + 123),
        (1_700_000_000_123_456, NOVEMBER_MS + 123),
        (1_700_000_000_123_456_789, NOVEMBER_MS + 123),
        ("1700000000", NOVEMBER_MS),
        ("1.7e9", NOVEMBER_MS),
        (" 1700000000000 ", NOVEMBER_MS),
        (20231114, MIDNIGHT_MS),
        (20231114.0, MIDNIGHT_MS),
        ("20231114", MIDNIGHT_MS),
        ("2023-11-14", MIDNIGHT_MS),
        (date(2023, 11, 14), MIDNIGHT_MS),
        ("2023-11-14T22:13:20", NOVEMBER_MS),
        ("2023-11-15T00:13:20+02:00", NOVEMBER_MS),
        ("2023-11-14T22:13:20.123456789Z", NOVEMBER_MS + 123),
        (datetime(2023, 11, 14, 22, 13, 20), NOVEMBER_MS),
        (datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC), NOVEMBER_MS + 123),
        (631_152_000, 631_152_000_000),
        ("1990-01-01", 631_152_000_000),
    ],
)
def test_a_moment_is_read_in_whatever_form_it_comes(value: Any, expected: int) -> None:
    assert moment_ms(value) == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1000, "1970-01-01"),
        (0, "1970-01-01"),
        (-5, "1969-12-31"),
        (20_231_332, "1970-08-23"),  # no such day
        (19_890_101, "1970-08-19"),
        (99_999_999_999_999_999_999, "out of range"),
        (10**400, "give seconds"),
        (10**300, "out of range"),
        ("1" * 300, "give seconds"),
        (float("nan"), "give seconds"),
        (float("inf"), "give seconds"),
        ("1e999", "give seconds"),
        (True, "give seconds"),
        ([], "give seconds"),
        ("1_700_000_000", "give seconds"),
        ("yesterday", "give seconds"),
        ("", "give seconds"),
        ("1969-07-20", "before 1990"),
        ("0001-01-01T00:00:00+23:59", "before 1990"),
        (date(1989, 12, 31), "before 1990"),
    ],
)
def test_what_is_no_moment_since_1990_is_refused_with_what_it_would_be(value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        moment_ms(value)


@given(st.integers(EARLIEST_S, LATEST_S - 1), st.sampled_from(UNITS_PER_S))
def test_the_size_of_a_number_says_its_unit(seconds: int, units: int) -> None:
    assert moment_ms(seconds * units) == seconds * 1000
    assert moment_ms(str(seconds * units)) == seconds * 1000


def test_a_field_of_milliseconds_takes_nothing_else() -> None:
    assert (
        milliseconds(NOVEMBER_MS) == milliseconds(str(NOVEMBER_MS)) == milliseconds(float(NOVEMBER_MS)) == NOVEMBER_MS
    )
    for value in (1_700_000_000, "1700000000", NOVEMBER_MS * 1000, 10**400, "soon", True, None):
        with pytest.raises(ValueError, match="give milliseconds"):
            milliseconds(value)
