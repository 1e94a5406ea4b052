from pathlib import Path

import pandas as pd
import pytest

from data.dataset import DataError
from data.event_log import COLUMNS, read_event_log


def write(folder: Path, name: str, rows: list[tuple]) -> None:
    (folder / "events").mkdir(exist_ok=True)
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": "float32"})
    frame.assign(received_ms=0).to_parquet(folder / "events" / name)


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    log = read_event_log(tmp_path / "log")
    assert len(log) == 0
    assert tuple(log.columns) == COLUMNS


def test_parts_are_one_log_in_order_of_time_and_an_event_counts_once(tmp_path: Path) -> None:
    late, early = ("u", "a", "click", None, 20, "e2"), ("u", "b", "rating", 4.0, 10, "e1")
    write(tmp_path, "part-00-1_0-2_0.parquet", [late, early])
    write(tmp_path, "part-01-1_0-1_0.parquet", [("v", "a", "like", None, 15, "e3"), late])
    (tmp_path / "events" / ".part-02.tmp").write_bytes(b"half")
    log = read_event_log(tmp_path)
    assert log["event_id"].tolist() == ["e1", "e3", "e2"]
    assert log["value"].tolist()[0] == 4.0
    assert log["timestamp_ms"].dtype == "int64"


def test_a_broken_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "part-00-1_0-2_0.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="part of the event log cannot be read"):
        read_event_log(tmp_path)
