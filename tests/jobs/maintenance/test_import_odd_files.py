"""Files as programs and people write them: what is read as meant, what is refused, and where the report says it."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.settings import Settings
from features.recording.online_store import OnlineStore
from jobs.maintenance.import_events import ImportedEvents, import_events
from tests.features import reading

pytestmark = pytest.mark.anyio
HEADER = "user_id,item_id,event_type,timestamp\n"
Refused = list[tuple[int, str | None, str]]
NOVEMBER_MS = 1_700_000_000_000


async def imported(settings: Settings, path: Path, content: str | bytes) -> tuple[ImportedEvents, Refused]:
    return await import_file(settings, written(path, content))


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


async def import_file(settings: Settings, path: Path) -> tuple[ImportedEvents, Refused]:
    done, report = await import_events(settings, path)
    lines = report.read_text().splitlines() if report.exists() else []
    refused = [json.loads(line) for line in lines]
    assert done.recorded + done.duplicates + done.refused == done.rows
    return done, [(row["row"], row["field"], row["reason"]) for row in refused]


async def history(store: OnlineStore, user: str) -> list[tuple[str, int]]:
    found = await reading.user_features(store, user)
    return [(item.decode(), time_ms) for time_ms, item, *_ in found["history"]]


async def test_empty_values_beyond_the_header_are_dropped(
    with_store: Settings, store: OnlineStore, tmp_path: Path
) -> None:
    rows = "w1,a,like,1700000000,\nw2,b,like,1700000001,\nw3,c,like,1700000002,x\n"
    done, refused = await imported(with_store, tmp_path / "a.csv", HEADER + rows)
    assert done.recorded == 2
    assert refused == [(3, None, "line 4: 5 values, and the header names 4 columns")]
    assert await history(store, "w1") == [("a", NOVEMBER_MS)]


async def test_upper_case_in_the_header_is_no_matter(with_store: Settings, store: OnlineStore, tmp_path: Path) -> None:
    content = "User_ID,Item_ID,Event_Type,Timestamp\nw1,a,like,1700000000\n"
    done, _ = await imported(with_store, tmp_path / "a.csv", content)
    assert done.recorded == 1
    table = pa.table({"User_ID": ["w1"], "ITEM_ID": ["b"], "event_type": ["like"], "Timestamp": [1_700_000_001]})
    pq.write_table(table, tmp_path / "a.parquet")
    done, _ = await import_file(with_store, tmp_path / "a.parquet")
    assert done.recorded == 1
    assert await history(store, "w1") == [("a", NOVEMBER_MS), ("b", NOVEMBER_MS + 1000)]


@pytest.mark.parametrize(
    "bad", [b'q2,"i2" (new),like,1700001202', b"q2,i\xe92,like,1700001202", b"q2," + b"x" * 140_000]
)
async def test_one_bad_row_among_many_is_refused_and_the_rest_goes_in(
    with_store: Settings, tmp_path: Path, bad: bytes
) -> None:
    lines = [f"q{n % 50},i{n % 30},like,{1_700_000_000 + n}".encode() for n in range(1500)]
    lines[1202] = bad
    done, refused = await imported(with_store, tmp_path / "a.csv", HEADER.encode() + b"\n".join(lines))
    assert (done.recorded, done.finished) == (1499, True)
    [(row, _, reason)] = refused
    assert row == 1203
    assert reason.startswith("line 1204: ")


async def test_one_id_for_the_lines_of_an_order_is_a_conflict_and_a_second_import_none(
    with_store: Settings, store: OnlineStore, tmp_path: Path
) -> None:
    """An order number as event_id: the other items were counted as duplicates, and lost."""
    header = HEADER.replace("\n", ",event_id\n")
    lines = [f"shopper,{item},purchase,1700000000,order-77\n" for item in ("teapot", "cup", "tray")]
    done, refused = await imported(with_store, tmp_path / "a.csv", header + "".join(lines))
    assert (done.recorded, done.duplicates) == (1, 0)
    assert [(row, field) for row, field, _ in refused] == [(2, "event_id"), (3, "event_id")]
    assert "'order-77' names another event of this user" in refused[0][2]
    done, refused = await imported(with_store, tmp_path / "b.csv", header + lines[0])
    assert (done.recorded, done.duplicates, refused) == (0, 1, [])
    assert await history(store, "shopper") == [("teapot", NOVEMBER_MS)]


async def test_half_an_emoji_costs_its_own_row(with_store: Settings, store: OnlineStore, tmp_path: Path) -> None:
    row = '{"user_id": "emo%s", "item_id": "%s", "event_type": "like", "timestamp": 1700000000%s}\n'
    rows = [
        row % ("", "a", ""),
        row % ("", "a", r', "context": {"query": "party \ud83c"}'),
        row % ("", "a", r', "recommendation_id": "list-\ud83c"'),
        row % ("", "a", r', "event_id": "e-\ud83c"'),
        row % (r"\ud83c\udf89", "a", ""),
        row % ("", "b", ""),
        r'{"user_id": "emo", "item_id": "c", "event_type": "\ud83d", "timestamp": 1700000000}' + "\n",
        r'{"user_id": "emo", "item_id": "c", "event_type": "like", "timestamp": "\ud83d"}' + "\n",
    ]
    done, refused = await imported(with_store, tmp_path / "a.jsonl", "".join(rows))
    assert done.recorded == 3
    fields = [(2, "context"), (3, "recommendation_id"), (4, "event_id"), (7, "event_type"), (8, "timestamp")]
    assert [(row, field) for row, field, _ in refused] == fields
    assert all("half of a character" in reason for *_, reason in refused[:3])
    assert len(await history(store, "emo")) == 2
    assert len(await history(store, "emo\N{PARTY POPPER}")) == 1


async def test_a_hundred_thousand_brackets_cost_their_own_row(with_store: Settings, tmp_path: Path) -> None:
    good = '{"user_id": "deep", "item_id": "a", "event_type": "view", "timestamp": 1700000000%s}\n'
    deep = good % (', "context": {"a": ' + "[" * 100_000 + "]" * 100_000 + "}")
    done, refused = await imported(with_store, tmp_path / "a.jsonl", good % "" + deep + good % "")
    assert done.recorded == 2
    assert refused == [(2, None, "it is not valid JSON: too many brackets in one another")]


async def test_times_are_read_by_their_size_and_contradictions_refused(
    with_store: Settings, store: OnlineStore, tmp_path: Path
) -> None:
    rows = {
        "s": "1700000000,",
        "s-fraction": "1700000000.25,",
        "ms-as-s": "1700000000000,",
        "us-as-s": "1700000000000000,",
        "s-as-ms": ",1700000000",
        "ms": ",1700000000000",
        "us-as-ms": ",1700000000000000",
        "both": "1700000000,1600000000000",
        "zone": "2023-11-15T00:13:20+02:00,",
        "no-zone": "2023-11-14T22:13:20,",
        "zulu-ns": "2023-11-14T22:13:20.123456789Z,",
        "exponent": "1.7e9,",
        "underscore": "1_700_000_000,",
        "date": "20231114,",
    }
    content = HEADER.replace("\n", ",timestamp_ms\n") + "".join(f"tu,{item},view,{t}\n" for item, t in rows.items())
    _, refused = await imported(with_store, tmp_path / "a.csv", content)
    assert [(list(rows)[row - 1], field) for row, field, _ in refused] == [
        ("s-as-ms", "timestamp_ms"),
        ("us-as-ms", "timestamp_ms"),
        ("both", "timestamp"),
        ("underscore", "timestamp"),
    ]
    assert dict(await history(store, "tu")) == {
        **dict.fromkeys(("s", "ms-as-s", "us-as-s", "ms", "zone", "no-zone", "exponent"), NOVEMBER_MS),
        "s-fraction": NOVEMBER_MS + 250,
        "zulu-ns": NOVEMBER_MS + 123,
        "date": 1_699_920_000_000,
    }


@pytest.mark.parametrize(
    ("times", "expected_ms"),
    [
        (pa.array([date(2023, 11, 14)], pa.date32()), 1_699_920_000_000),
        (pa.array([date(2023, 11, 14)], pa.date64()), 1_699_920_000_000),
        (
            pa.array([datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)], pa.timestamp("us", "America/New_York")),
            NOVEMBER_MS,
        ),
        (pa.array([datetime(2023, 11, 14, 22, 13, 20)], pa.timestamp("ms")), NOVEMBER_MS),
        (pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "UTC")), NOVEMBER_MS + 123),
        (pa.array([1_700_000_000_123_456_789], pa.int64()), NOVEMBER_MS + 123),
        (pa.array(["2023-11-14T22:13:20Z"]), NOVEMBER_MS),
        (pa.array([Decimal("1700000000")], pa.decimal128(38, 0)), NOVEMBER_MS),
    ],
)
async def test_times_in_parquet_are_read_by_their_type(
    with_store: Settings, store: OnlineStore, tmp_path: Path, times: Any, expected_ms: int
) -> None:
    table = pa.table({"user_id": ["t"], "item_id": ["e"], "event_type": ["like"], "timestamp": times})
    pq.write_table(table, tmp_path / "a.parquet")
    _, refused = await import_file(with_store, tmp_path / "a.parquet")
    assert refused == []
    assert await history(store, "t") == [("e", expected_ms)]


async def test_a_value_that_python_cannot_hold_costs_its_own_row(with_store: Settings, tmp_path: Path) -> None:
    times = pa.array([1_700_000_000, 9_000_000_000_000, 1_700_000_001, -9_000_000_000], pa.timestamp("s"))
    columns = {"user_id": ["t"] * 4, "item_id": ["e"] * 4, "event_type": ["like"] * 4, "timestamp": times}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    done, refused = await import_file(with_store, tmp_path / "a.parquet")
    assert done.recorded == 2
    assert [(row, field) for row, field, _ in refused] == [(2, None), (4, "timestamp")]


async def test_ids_that_look_like_others_are_refused_in_csv_and_json_alike(
    with_store: Settings, store: OnlineStore, tmp_path: Path
) -> None:
    """A cell of a CSV is a text where it is no number, and then it may not be padded, nor hold what cannot be seen."""
    cells = [" 7", "7 ", "an\u200bn", "1e3", "true", "[1]"]
    rows = "".join(f"{cell},i,like,{1_700_000_000 + n}\n" for n, cell in enumerate(cells))
    done, refused = await imported(with_store, tmp_path / "a.csv", HEADER + rows)
    assert done.recorded == 3
    words = ["must not begin or end with a space"] * 2 + ["must not contain characters that cannot be seen, as U+200B"]
    assert refused == [(row, "user_id", f"user_id: {text}") for row, text in enumerate(words, 1)]
    assert (
        len(await history(store, "1e3")) == len(await history(store, "[1]")) == len(await history(store, "true")) == 1
    )
    users = [*(f'"{cell}"' for cell in cells[:3]), *cells[3:]]
    lines = [f'{{"user_id": {user}, "item_id": "i", "event_type": "like", "timestamp": 1}}' for user in users]
    done, refused = await imported(with_store, tmp_path / "a.jsonl", "\n".join(lines))
    assert (done.recorded, [field for _, field, _ in refused]) == (0, ["user_id"] * 6)


async def test_a_key_that_comes_twice_costs_its_own_row(with_store: Settings, tmp_path: Path) -> None:
    """Regression: the last of the values was taken without a word."""
    row = '{"user_id": "tw", "item_id": "a", "event_type": "view", "timestamp": "2023-11-14T22:13:20Z"%s}\n'
    rows = row % "" + row % ', "item_id": "b"' + row % ', "context": {"x": 1, "x": 2}' + row % ', "context": {"q": ":"}'
    done, refused = await imported(with_store, tmp_path / "a.jsonl", rows)
    assert done.recorded == 2
    assert refused == [
        (2, None, "the key 'item_id' stands twice in one object; give it once"),
        (3, None, "the key 'context.x' stands twice in one object; give it once"),
    ]


async def test_whole_numbers_with_decimals_are_refused_in_csv_and_parquet(
    with_store: Settings, store: OnlineStore, tmp_path: Path
) -> None:
    """196.0 was a user beside 196."""
    rows = "196.0,50.0,like,1700000000\n1.96e2,50,like,1700000001\n196,50.0,like,1700000002\n196,50,like,1700000003\n"
    done, in_csv = await imported(with_store, tmp_path / "a.csv", HEADER + rows)
    assert done.recorded == 1
    columns = {"item_id": [50] * 3, "event_type": ["like"] * 3, "timestamp": [1_700_000_000] * 3}
    pq.write_table(pa.table({"user_id": [196.0, None, 197.0], **columns}), tmp_path / "a.parquet")
    done, in_parquet = await import_file(with_store, tmp_path / "a.parquet")
    assert done.recorded == 0
    words = "give a whole number or a text"
    assert in_csv == [
        (1, "user_id", f"user_id: {words}"),
        (2, "user_id", f"user_id: {words}"),
        (3, "item_id", f"item_id: {words}"),
    ]
    assert in_parquet == [
        (1, "user_id", f"user_id: {words}"),
        (2, "user_id", "user_id is required"),
        (3, "user_id", f"user_id: {words}"),
    ]
    assert await history(store, "196") == [("50", NOVEMBER_MS + 3000)]


@pytest.mark.parametrize(
    "users",
    [pa.array([196, None, 9_007_199_254_740_993]), pa.array([Decimal(196), None, Decimal(9_007_199_254_740_993)])],
)
async def test_whole_numbers_of_any_type_keep_their_digits(
    with_store: Settings, store: OnlineStore, tmp_path: Path, users: Any
) -> None:
    columns = {"item_id": [50] * 3, "event_type": ["like"] * 3, "timestamp": [1_700_000_000] * 3}
    pq.write_table(pa.table({"user_id": users, **columns}), tmp_path / "a.parquet")
    _, refused = await import_file(with_store, tmp_path / "a.parquet")
    assert refused == [(2, "user_id", "user_id is required")]
    assert await history(store, "196") == await history(store, "9007199254740993") == [("50", NOVEMBER_MS)]


async def test_whole_numbers_beyond_64_bits_are_refused_as_numbers_and_taken_as_texts(
    with_store: Settings, store: OnlineStore, tmp_path: Path
) -> None:
    rows = ["18446744073709551615", "1e3", '"18446744073709551615"', "9007199254740993", "-3499919498720038879"]
    line = '{"user_id": %s, "item_id": 1, "event_type": "like", "timestamp": 1700000000}\n'
    done, refused = await imported(with_store, tmp_path / "a.jsonl", "".join(line % user for user in rows))
    assert done.recorded == 3
    assert [(row, field) for row, field, _ in refused] == [(1, "user_id"), (2, "user_id")]
    for user in ("18446744073709551615", "9007199254740993", "-3499919498720038879"):
        assert await history(store, user) == [("1", NOVEMBER_MS)]


async def test_what_stands_for_nobody_is_no_user(with_store: Settings, store: OnlineStore, tmp_path: Path) -> None:
    users = ["NA", "null", "None", "undefined", "NaN", "0", "-1", '" "', '""', " ", "N/A"]
    lines = [f"{user},i{n},view,{1_700_000_000 + n}\n" for n, user in enumerate(users)]
    done, refused = await imported(with_store, tmp_path / "a.csv", HEADER + "".join(lines))
    assert done.recorded == 2
    assert [row for row, *_ in refused] == [1, 2, 3, 4, 5, 8, 9, 10, 11]
    assert {reason for *_, reason in refused} == {"user_id is required"}
    assert await history(store, "0") == [("i5", NOVEMBER_MS + 5000)]
