import os
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.dataset import DataError
from data.event_log import COLUMNS, EventLog, read_event_log
from data.log_tables import SCHEMAS, entries_table, stream_id


def row(event_id: str, stream: str, **fields: object) -> dict[str, object]:
    given = {
        "event_id": event_id,
        "user_id": "u",
        "item_id": "a",
        "event_type": "click",
        "timestamp_ms": 10,
        "received_ms": 0,
        "stream_id": stream,
        "partition": 0,
    }
    return {**given, **fields}


def table(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), SCHEMAS["events"])


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    log = read_event_log(tmp_path / "log").to_pandas()
    assert len(log) == 0
    assert tuple(log.columns) == COLUMNS
    assert EventLog(tmp_path / "log").parts("events") == []


def test_parts_are_one_log_in_order_of_time_and_an_event_counts_once(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    late = row("e2", "1-0", timestamp_ms=20)
    early = row("e1", "2-0", timestamp_ms=10, event_type="rating", value=4.0)
    log.write_part("events", 0, table(late, early))
    log.write_part(
        "events", 1, table(row("e3", "1-0", user_id="v", timestamp_ms=15), row("e2", "9-0", timestamp_ms=30))
    )
    (tmp_path / "events" / ".part-02.tmp").write_bytes(b"half")
    frame = read_event_log(tmp_path).to_pandas()
    assert frame["event_id"].tolist() == ["e1", "e3", "e2"]
    assert frame["value"].tolist()[0] == 4.0
    assert frame["value"].dtype == "float32"
    assert frame["timestamp_ms"].tolist() == [10, 15, 20]


def test_the_same_id_of_two_users_is_two_events(tmp_path: Path) -> None:
    EventLog(tmp_path).write_part("events", 0, table(row("e", "1-0"), row("e", "1-1", user_id="v")))
    assert len(read_event_log(tmp_path)) == 2


def test_an_id_that_named_other_events_past_the_window_drops_none_of_them(tmp_path: Path) -> None:
    rows = [
        row("order-77", "1-0"),
        row("order-77", "2-0", item_id="b"),
        row("order-77", "3-0", event_type="purchase"),
        row("order-77", "4-0", event_type="rating", value=4.0),
        row("order-77", "5-0", event_type="rating", value=5.0),
        row("order-77", "6-0", timestamp_ms=99),
        row("order-77", "7-0", event_type="rating", value=5.0, timestamp_ms=99),
    ]
    EventLog(tmp_path).write_part("events", 0, table(*rows))
    frame = read_event_log(tmp_path).to_pandas()
    assert frame["timestamp_ms"].tolist() == [10] * 5
    assert frame[["item_id", "event_type"]].to_numpy().tolist() == [
        ["a", "click"], ["b", "click"], ["a", "purchase"], ["a", "rating"], ["a", "rating"],
    ]  # fmt: skip


def test_a_broken_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "part-00-1_0-2_0.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"part-00-1_0-2_0.parquet.*event log cannot be read"):
        read_event_log(tmp_path)


@pytest.mark.parametrize(
    ("column", "kind"),
    [("event_id", pa.int64()), ("user_id", pa.binary()), ("timestamp_ms", pa.string()), ("simulated", pa.float64()),
     ("categories", pa.string())],
)  # fmt: skip
def test_a_part_of_other_types_is_named_with_the_column(tmp_path: Path, column: str, kind: pa.DataType) -> None:
    log = EventLog(tmp_path)
    part = log.write_part("events", 0, table(row("e1", "1-0")))
    whole = pq.read_table(part.path, partitioning=None)
    place = whole.schema.get_field_index(column)
    pq.write_table(whole.set_column(place, column, pa.nulls(whole.num_rows, kind)), part.path)
    for read in (lambda: read_event_log(tmp_path), lambda: list(log.tables("events"))):
        with pytest.raises(DataError, match=f"part-.*the column {column} is {kind}, expected"):
            read()


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    part = log.write_part("events", 0, table(row("e1", "1-0")))
    pq.write_table(pq.read_table(part.path, partitioning=None).drop_columns(["item_id"]), part.path)
    with pytest.raises(DataError, match=r"part-.*cannot be read.*item_id"):
        read_event_log(tmp_path)


def test_a_pickle_in_the_metadata_of_a_part_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"

    class Planted:
        def __reduce__(self) -> object:
            return os.mkdir, (str(mark),)

    log = EventLog(tmp_path / "log")
    part = log.write_part("events", 0, table(row("e1", "1-0")))
    planted = {b"pandas": pickle.dumps(Planted()), b"ARROW:extension:metadata": pickle.dumps(Planted())}
    pq.write_table(pq.read_table(part.path, partitioning=None).replace_schema_metadata(planted), part.path)
    assert read_event_log(tmp_path / "log").num_rows == 1
    assert not mark.exists()


def test_a_strange_file_is_named_instead_of_ignored(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "mine.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="mine"):
        EventLog(tmp_path).parts("events")


def test_parts_are_named_for_their_ids_and_sort_as_numbers(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.write_part("events", 3, table(row("b", "1000-0"), row("c", "1000-12")))
    part = log.write_part("events", 3, table(row("a", "999-2")))
    assert part.path.name == "part-03-999_2-999_2.parquet"
    assert [(part.first, part.last) for part in log.parts("events", 3)] == [
        ((999, 2), (999, 2)),
        ((1000, 0), (1000, 12)),
    ]
    assert log.parts("events", 0) == []
    assert log.held("events", 3, (1000, 0)) == {("1000-0", "b"), ("1000-12", "c")}
    assert log.held("events", 3, (1000, 13)) == set()


def test_rows_in_overlapping_parts_count_once(tmp_path: Path) -> None:
    """A compaction that stood still until its lock had passed on, then went on."""
    log = EventLog(tmp_path)
    rows = [row(f"e{n}", f"{n}-0") for n in range(6)]
    log.write_part("events", 0, table(*rows[:4]))
    log.write_part("events", 0, table(*rows[:6]))
    log.write_part("events", 0, table(rows[5]))
    found = [event_id for part in log.tables("events") for event_id in part["event_id"].to_pylist()]
    assert sorted(found) == [f"e{n}" for n in range(6)]


def test_erasing_rewrites_only_the_parts_that_name_the_user(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    mine = log.write_part("events", 0, table(row("e1", "1-0"), row("e2", "2-0", user_id="v")))
    only = log.write_part("events", 0, table(row("e3", "3-0")))
    other = log.write_part("events", 0, table(row("e4", "4-0", user_id="v")))
    elsewhere = log.write_part("events", 1, table(row("e5", "1-0")))
    untouched = {part.path: part.path.stat().st_ino for part in (other, elsewhere)}
    assert log.erase_user(0, "u") == 2
    assert {path: path.stat().st_ino for path in untouched} == untouched
    assert [part.path for part in log.parts("events", 0)] == [mine.path, only.path, other.path]
    assert read_event_log(tmp_path)["event_id"].to_pylist() == ["e2", "e4", "e5"]
    assert log.user_rows("events", 0, "u") == []
    assert len(log.user_rows("events", 0, "v")) == 2


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    part = log.write_part("events", 0, table(row("e", "1-0")))
    (tmp_path / "events" / f".{part.path.name}.abc.tmp").write_bytes(b"half")
    assert log.sweep() == 1
    assert [path.name for path in (tmp_path / "events").iterdir()] == [part.path.name]


def test_entries_become_rows_with_all_columns() -> None:
    event = b"""{"user_id":"u","event_id":"e","item_id":"i","event_type":"rating","value":4.5,"timestamp_ms":5,
        "received_ms":6,"recommendation_id":"r","context":{"a":[1]},"categories":["Drama"]}"""
    (made,) = entries_table("events", [("7-1", event)], 3).to_pylist()
    assert made["context"] == '{"a":[1]}'
    assert (made["stream_id"], made["partition"], made["value"], made["categories"]) == ("7-1", 3, 4.5, ["Drama"])
    shown = b"""{"user_id":"u","recommendation_id":"r","time_ms":5,"model_version":"v","variant":null,"experiment":null,
        "item_ids":["a","b"],"propensities":[0.5,1],"scores":null,"context":null,"simulated":true}"""
    (made,) = entries_table("exposures", [("7-1", shown)], 3).to_pylist()
    assert (made["item_ids"], made["propensities"], made["scores"]) == (["a", "b"], [0.5, 1.0], None)
    assert made["simulated"] is True
    assert made["context"] is None


def test_stream_ids_compare_as_numbers() -> None:
    assert stream_id("999-2") < stream_id("1000-0") < stream_id("1000-10")


def test_the_frame_of_a_log_is_stable_however_it_was_cut(tmp_path: Path) -> None:
    rows = [row(f"e{n % 7}", f"{n}-0", user_id=f"u{n % 3}", timestamp_ms=n % 5) for n in range(40)]
    EventLog(tmp_path / "one").write_part("events", 0, table(*rows))
    for start in range(0, 40, 9):
        EventLog(tmp_path / "many").write_part("events", 0, table(*rows[start : start + 9]))
    assert read_event_log(tmp_path / "one").to_pylist() == read_event_log(tmp_path / "many").to_pylist()


def test_simulated_events_are_marked_and_an_older_part_has_none(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    event = """{"user_id":"u","event_id":"%s","item_id":"i","event_type":"like","value":null,"timestamp_ms":5,
        "received_ms":6,"recommendation_id":null,"context":%s,"categories":[]}"""
    contexts = {"a": '{"simulated":true}', "b": '{"simulated":"yes"}', "c": "null"}
    entries = [(f"{n}-0", (event % (name, context)).encode()) for n, (name, context) in enumerate(contexts.items(), 1)]
    log.write_part("events", 0, entries_table("events", entries, 0))
    older = entries_table("events", [("9-0", (event % ("d", "null")).encode())], 0).drop_columns(["simulated"])
    log.write_part("events", 0, older)
    frame = read_event_log(tmp_path).to_pandas().set_index("event_id")
    assert frame["simulated"].to_dict() == {"a": True, "b": False, "c": False, "d": False}


def test_events_are_counted_with_or_without_simulated_ones(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    assert log.count_events(simulated=True) == 0
    log.write_part("events", 0, table(row("a", "1-0", simulated=True), row("b", "2-0", simulated=False)))
    log.write_part("events", 1, table(row("c", "1-0")).drop_columns(["simulated"]))
    for _ in range(2):  # the second time from what is known of the parts
        assert (log.count_events(simulated=True), log.count_events(simulated=False)) == (3, 2)
    assert log.erase_user(0, "u") == 2
    assert log.count_events(simulated=True) == 1
