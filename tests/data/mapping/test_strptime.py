"""Dates of a form of the user's: days that do not exist are refused, and a form with many of them is doubted."""

from pathlib import Path

import pyarrow as pa
import pytest

from data.mapping.conversions import times
from data.mapping.import_tables import import_tables
from data.mapping.plan import Sources, UnclearMap, make_plan


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("31.02.2026", "%d.%m.%Y"),
        ("29.02.2026 23:59", "%d.%m.%Y %H:%M"),
        ("31-Apr-2026", "%d-%b-%Y"),
        ("02/30/26", "%D"),
        ("2026-02-30T10:00:00", "%FT%T"),
        ("2026-04-31 01:00 +0500", "%Y-%m-%d %H:%M %z"),
        ("2026-04-31 23:00 -0500", "%Y-%m-%d %H:%M %z"),
        ("31.9.2026", "%e.%m.%Y"),
    ],
)
def test_a_day_that_does_not_exist_is_refused(text: str, form: str) -> None:
    """Regression: the C library made 3 March of 31 February."""
    found, faults = times(pa.chunked_array([[text]]), form)
    assert faults == {0: f"{text!r} is a day that its month does not have"}
    assert found.tolist() == [0]


@pytest.mark.parametrize(
    ("text", "form", "iso"),
    [
        ("29.02.2028", "%d.%m.%Y", "2028-02-29"),
        ("1.03.2029 10:30", "%d.%m.%Y %H:%M", "2029-03-01T10:30"),
        ("31-mar-2026", "%d-%b-%Y", "2026-03-31"),
        ("2026-03-31 20:30 -0500", "%Y-%m-%d %H:%M %z", "2026-04-01T01:30"),
        ("2026-03-31 01:30 +0500", "%Y-%m-%d %H:%M %z", "2026-03-30T20:30"),
        ("1772368230", "%s", "2026-03-01T12:30:30"),
    ],
)
def test_days_that_exist_are_taken(text: str, form: str, iso: str) -> None:
    found, faults = times(pa.chunked_array([[text]]), form)
    assert faults == {}
    assert found.tolist() == times(pa.chunked_array([[iso]]))[0].tolist()


def orders(folder: Path, dates: list[str]) -> Sources:
    rows = "".join(f"c{n % 7},s{n % 5},{date}\n" for n, date in enumerate(dates))
    (folder / "orders.csv").write_text("customer,sku,order_date\n" + rows)
    return Sources(str(folder / "orders.csv"))


def test_single_impossible_days_are_refused_with_their_rows(tmp_path: Path) -> None:
    plan = make_plan(orders(tmp_path, [*(f"01/{n % 31 + 1:02}/2026" for n in range(60)), "02/30/2026"]))
    found = import_tables(plan, tmp_path / "processed", tmp_path / "refused.jsonl")
    assert found.refusals.first == [
        f"{tmp_path}/orders.csv: row 62, column order_date: '02/30/2026' is a day that its month does not have"
    ]


def test_many_impossible_days_make_the_form_doubtful(tmp_path: Path) -> None:
    sources = orders(tmp_path, [f"02/{n % 10 + 22}/2026" for n in range(60)])
    with pytest.raises(UnclearMap, match="time: most dates in order_date are of the form %m/%d/%Y, but '02/29/2026'"):
        make_plan(sources)
