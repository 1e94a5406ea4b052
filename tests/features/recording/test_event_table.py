from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.event_types import load_event_types
from data.dataset import DataError
from data.imports.event_file import rows_of
from features.items.catalogue import Item
from features.recording.event import Event
from features.recording.event_request import EventError, EventRules
from features.recording.event_table import sure_rows
from features.recording.row_event import row_event

NOW_MS = 1_790_000_000_000
ITEMS = {name: Item(name, name) for name in ("i1", "242", "a.b")}
IDS = ["u1", "196", "196.0", "1e5", "1e+05", "a.b", ".", "..", "", " ", "nan", "NULL", " u1 ", "x" * 200, "x" * 201]
IDS += [
    "Zoë",
    "a b",
    "#N/A",
    "-",
    "007",
    "a+b",
    "1+1",
    "a\tb",
    "=1",
    "mail@host.org",
    "a\x00",
    "\u0664",
    "e1",
    "E" * 300,
]
TYPES = ["like", "rating", "purchase", "watch", "stare", "", "Like", "like ", "search"]
NUMBERS = ["", "3", "0.5", "5.01", "-1", "nan", "inf", "1e3", " 4 ", "+4", "4.", ".5", "1200000", "four", "0x1", "٣"]
TIMES = ["1700000000", "1700000000.5", "1700000000123", "20231114", "2023-11-14", "2023-11-14T22:13:20Z", "", "0", "-5"]
TIMES += ["2023-02-30", "9000000000", "1790000299", "1790000301", "1700000000123456", "yesterday", " 1700000000 "]
TIMES += ["1700000000123456789", "99999999999999999999", "2023-11-14 22:13:20.1239", "1e9", "1.7e9", "٢٠٢٣-١١-١٤"]


def texts(values: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(values) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


ROW = st.fixed_dictionaries(
    {
        "user_id": texts(IDS),
        "item_id": texts(IDS),
        "event_type": st.sampled_from(TYPES),
        "value": texts(NUMBERS),
        "rating": st.sampled_from(["", "", *NUMBERS]),
        "timestamp": texts(TIMES),
        "timestamp_ms": st.sampled_from(["", "", "", *TIMES]),
        "event_id": st.sampled_from(["", "", *IDS]),
        "context": st.sampled_from(["", "", "", "{}", "NA"]),
        "recommendation_id": st.sampled_from(["", "", "", "r1"]),
    }
)
CLEAN = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["u1", "196", "mail@host.org"]),
        "item_id": st.sampled_from(["i1", "242", "new"]),
        "event_type": st.sampled_from(["like", "rating", "purchase", "watch"]),
        "value": st.sampled_from(["", "3", "0.5", "0.1"]),
        "timestamp": st.sampled_from(["1700000000", "1700000000123", "2023-11-14T22:13:20Z", "2023-11-14", "1.7e9"]),
    }
)


def rules(open_catalogue: bool) -> EventRules:
    return EventRules(load_event_types("movies"), 300, open_catalogue)


def check(table: pa.Table, open_catalogue: bool = True) -> list[bool]:
    """Every row that is sure must be the event that `row_event` makes of it. Returns which are sure."""
    found = sure_rows(table, rules(open_catalogue), ITEMS, NOW_MS)
    for place, row in enumerate(rows_of(table)):
        if not found.sure[place]:
            continue
        assert not isinstance(row, DataError)
        event = row_event(row, place + 1, False, rules(open_catalogue), ITEMS, NOW_MS)
        value: float | None = float(found.value[place])
        said = Event(
            found.event_id[place].as_py() or event.event_id,
            found.user_id[place].as_py(),
            found.item_id[place].as_py(),
            found.event_type[place].as_py(),
            int(found.timestamp_ms[place]),
            None if value != value else value,
            NOW_MS,
        )
        assert said == event
        assert found.event_id[place].as_py() or event.event_id.startswith(f"row-{place + 1}-")
    return found.sure.tolist()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(ROW | CLEAN, min_size=1, max_size=8), open_catalogue=st.booleans())
def test_a_sure_row_is_the_event_of_the_row_check(rows: list[dict[str, str]], open_catalogue: bool) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    check(pa.table({name: [row.get(name, "") for row in rows] for name in names}), open_catalogue)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(CLEAN, min_size=1, max_size=8))
def test_a_row_of_the_common_forms_is_sure_where_it_is_an_event(rows: list[dict[str, str]]) -> None:
    table = pa.table({name: [row[name] for row in rows] for name in rows[0]})
    good = []
    for place, row in enumerate(rows_of(table)):
        try:
            row_event(row, place, False, rules(True), ITEMS, NOW_MS)  # type: ignore[arg-type]
            good.append(True)
        except EventError:
            good.append(False)
    assert check(table) == good


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("user_id", pa.array([1, None, -7, 2**62], pa.int64())),
        ("user_id", pa.array([1.0, 2.5, None, 3.0])),
        ("item_id", pa.array(["i1", None, "", "a.b"]).dictionary_encode().cast(pa.string())),
        ("timestamp", pa.array([1_700_000_000, 0, None, 1_700_000_000_123_456])),
        ("timestamp", pa.array([1.7e9, 1.7e12, float("nan"), None])),
        ("timestamp", pa.array([datetime(2023, 11, 14, 22, tzinfo=UTC), None, datetime(1980, 1, 1, tzinfo=UTC), None])),
        ("timestamp", pa.array([1_700_000_000_123_456, 1_700_000_000_123_000, 0, None], pa.timestamp("us"))),
        ("timestamp", pa.array([9_300_000_000, 9_200_000_000, 1_700_000_000, None], pa.timestamp("s"))),
        ("value", pa.array([1.0, None, float("nan"), float("inf")])),
        ("value", pa.array([1, None, 0, 7], pa.int32())),
        ("rating", pa.array([1, None, 0, 5], pa.int64())),
        ("event_id", pa.array([1, None, 0, 5], pa.int64())),
    ],
)
def test_columns_with_types_mean_the_same(column: str, values: pa.Array) -> None:
    columns: dict[str, Any] = {
        "user_id": ["u1"] * 4,
        "item_id": ["i1"] * 4,
        "event_type": ["rating" if column == "rating" else "watch" if column == "value" else "like"] * 4,
        "timestamp": ["1700000000"] * 4,
    }
    check(pa.table({**columns, column: values}))
