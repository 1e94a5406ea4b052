from pathlib import Path

import pytest

from data.dataset import DataError
from data.sources.csv_rows import Cells, read_csv


def read(path: Path, content: str | bytes) -> tuple[list[str], list[tuple[int, Cells]]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    names, rows = read_csv(path)
    return names, [(line, str(row) if isinstance(row, DataError) else row) for line, row in rows]  # type: ignore[misc]


def test_rows_come_with_the_numbers_of_their_lines(tmp_path: Path) -> None:
    names, rows = read(tmp_path / "a.csv", '\ufeffUser, ITEM \n1,2\n\n3,"4\n5"\n6,7\n8\n')
    assert names == ["user", "item"]
    assert rows == [(2, ["1", "2"]), (4, ["3", "4\n5"]), (6, ["6", "7"]), (7, ["8", ""])]


def test_empty_values_beyond_the_header_are_dropped_and_others_refused(tmp_path: Path) -> None:
    names, rows = read(tmp_path / "a.csv", "user,item,,\n1,2,\n3,4, ,\n5,6,7\n8,9\n")
    assert names == ["user", "item"]
    assert [row for _, row in rows] == [
        ["1", "2"],
        ["3", "4"],
        "3 values, and the header names 2 columns",
        ["8", "9"],
    ]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("user,item,user", "two columns are called 'user'"),
        ("User,user,item", r"two columns are called 'user' \('User', 'user'\)"),
        (",user,item", "column 1 has no name"),
        ("", "it is empty"),
        ('"user', "row 1: it is not valid CSV"),
    ],
)
def test_a_header_that_does_not_name_each_column_once_is_refused(tmp_path: Path, header: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(tmp_path / "a.csv", f"{header}\n" if header else "")


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b'3,"4" (new)', "not valid CSV"),
        (b'3,"4', "not valid CSV"),
        (b"3,caf\xe9", "UTF-8"),
        (b"3," + b"x" * 140_000, "a cell holds more than 131,072 characters"),
    ],
)
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_a_bad_row_takes_no_other_with_it(tmp_path: Path, bad: bytes, words: str, ending: bytes) -> None:
    lines = [b"user,item", b"1,2", bad, b'5,"6"', b"7,8"]
    _, rows = read(tmp_path / "a.csv", ending.join(lines) + ending)
    assert [(line, row) for line, row in rows if line != 3] == [(2, ["1", "2"]), (4, ["5", "6"]), (5, ["7", "8"])]
    [refused] = [row for line, row in rows if line == 3]
    assert words in refused


def test_a_quote_that_nobody_closes_costs_its_own_row(tmp_path: Path) -> None:
    _, rows = read(tmp_path / "a.csv", 'user,item\n1,"2\n' + "3,4\n" * 50)
    assert len(rows) == 51
    assert "end of data" in rows[0][1]
    assert all(row == ["3", "4"] for _, row in rows[1:])
