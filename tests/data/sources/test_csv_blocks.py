"""Text by pyarrow where that is exact, and by the strict reader elsewhere: one meaning."""

import gzip
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.dataset import DataError
from data.sources import addresses, csv_blocks
from data.sources.csv_blocks import CsvBlocks
from data.sources.csv_rows import read_csv
from data.sources.open_table import ReadOptions, open_table

Rows = list[tuple[int, list[str] | str]]


def strict(path: Path) -> Rows:
    return [(line, str(row) if isinstance(row, DataError) else row) for line, row in read_csv(path)[1]]


def by_blocks(path: Path) -> Rows:
    found: Rows = []
    for batch in open_table(str(path)).batches:
        cells = zip(*(column.to_pylist() for column in batch.table.columns), strict=True)
        found += [(int(line), list(row)) for line, row in zip(batch.rows, cells, strict=True)]
        found += [(line, reason.split("; for a file")[0]) for line, reason in batch.refused]
    return sorted(found, key=lambda entry: entry[0])


PIECES = ["a", "7", ",", ",", '"', '""', "\n", "\n", "\r\n", "\r", " ", "é", "\udce9", "x,y\n", '"q",z\n']


@given(st.lists(st.sampled_from(PIECES), max_size=40), st.sampled_from([5, 60, 4_000_000]))
def test_a_file_means_the_same_block_by_block_and_row_by_row(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], block: int
) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(("user,item\n" + "".join(pieces)).encode("utf-8", "surrogateescape"))
    before = csv_blocks.BLOCK_BYTES, csv_blocks._STRICT_AT_LEAST
    csv_blocks.BLOCK_BYTES, csv_blocks._STRICT_AT_LEAST = block, 1
    try:
        assert by_blocks(path) == strict(path)
    finally:
        csv_blocks.BLOCK_BYTES, csv_blocks._STRICT_AT_LEAST = before


@pytest.mark.parametrize("rows", ["a,b\n" * 50, '"a,1","b\n2"\n' * 50, "a,b,\n" * 50])
def test_regular_text_takes_the_quick_way(tmp_path: Path, rows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_text("user,item\n" + rows)
    expected = strict(path)
    monkeypatch.setattr(CsvBlocks, "_slow", None)
    assert by_blocks(path) == expected


@pytest.mark.parametrize(
    ("name", "raw", "options"),
    [
        ("t.csv", b"user;item\r\na;b\r\n", {}),
        ("t.tsv", b"user\titem\na\tb\n", {}),
        ("t.txt", b"user|item\na|b\n", {}),
        ("t.csv", b"\xef\xbb\xbfUser,Item\na,b\n", {}),
        ("t.csv", "user,item\na,b\n".encode("utf-16"), {}),
        ("t.csv.gz", gzip.compress(b"user,item\na,b\n", mtime=0), {}),
        ("t.csv", b"a,b\n", {"columns": ["user", "item"]}),
        ("t.inter", b"user:token\titem:token\na\tb\n", {}),
        ("t.jsonl", b'{"user": "a", "item": "b"}\n', {}),
    ],
)
def test_each_form_of_text_is_one_table(tmp_path: Path, name: str, raw: bytes, options: dict[str, object]) -> None:
    (tmp_path / name).write_bytes(raw)
    table = open_table(str(tmp_path / name), ReadOptions.model_validate(options))
    assert table.columns == ["user", "item"]
    assert [batch.table.to_pylist() for batch in table.batches] == [[{"user": "a", "item": "b"}]]


def test_a_named_encoding_is_used(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("user,item\nJosé,b\n".encode("cp1252"))
    [batch] = open_table(str(path)).batches
    [(row, reason)] = batch.refused
    assert (row, reason[:23]) == (2, "it is not text in UTF-8")
    [batch] = open_table(str(path), ReadOptions(encoding="cp1252")).batches
    assert batch.table["user"].to_pylist() == ["José"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"<!DOCTYPE html><html>", "web page"),
        (b"PK\x03\x04...", "zip archive"),
        (b"\x00\x01\x02,\n", "not text"),
        (b"", "empty"),
        (b"user,user\na,b\n", "two columns are called 'user'"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, raw: bytes, words: str) -> None:
    (tmp_path / "t.csv").write_bytes(raw)
    with pytest.raises(DataError, match=words):
        open_table(str(tmp_path / "t.csv"))


def test_rubbish_without_line_ends_is_read_in_bounded_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_blocks, "LONGEST_LINE", 200_000)
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 50_000)
    monkeypatch.setattr(addresses, "CHUNK_BYTES", 10_000)
    (tmp_path / "t.csv").write_bytes(b"user,item\n" + b'"x' * 10_000_000)
    tracemalloc.start()
    try:
        batches = list(open_table(str(tmp_path / "t.csv")).batches)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (sum(batch.table.num_rows for batch in batches), sum(len(batch.refused) for batch in batches)) == (0, 1)
    assert peak < 3_000_000


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_the_end_of_a_line_that_is_too_long_is_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Regression: what a million bytes into the line came looked like a row of its own, and could be one."""
    monkeypatch.setattr("data.sources.csv_blocks.LONGEST_LINE", 200_000)
    monkeypatch.setattr("data.sources.csv_blocks.BLOCK_BYTES", 50_000)
    long = "x" * (200_000 - len("u1,")) + "uu,ii"
    text = end.join(["user,item", "a,b", f"u1,{long}", "c,d"]) if end else f"user,item\na,b\nu1,{long}"
    (tmp_path / "t.csv").write_bytes(text.encode())
    batches = list(open_table(str(tmp_path / "t.csv")).batches)
    rows = [(int(line), *row.values()) for b in batches for line, row in zip(b.rows, b.table.to_pylist(), strict=True)]
    assert rows == [(2, "a", "b"), (4, "c", "d")][: 2 if end else 1]
    assert [line for batch in batches for line, _ in batch.refused] == [3]
    assert all("more than 131,072 characters" in why for batch in batches for _, why in batch.refused)


def test_half_a_character_costs_its_row(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"user": "a"}\n{"user": "\\ud83d"}\n{"user": "\\ud83d\\ude00"}\n')
    [batch] = open_table(str(tmp_path / "t.jsonl")).batches
    assert batch.table["user"].to_pylist() == ["a", "😀"]
    assert batch.refused == [(2, "holds half of a character, as of an emoji that was cut")]


def test_a_folder_is_one_table_and_a_file_of_other_columns_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item\na,b\n")
    (tmp_path / "b.csv").write_text("item,user\nd,c\n")
    tables = [batch.table for batch in open_table(str(tmp_path)).batches]
    assert pa.concat_tables(tables).to_pylist() == [{"user": "a", "item": "b"}, {"user": "c", "item": "d"}]
    (tmp_path / "c.csv").write_text("user,thing\nd,c\n")
    with pytest.raises(DataError, match=r"c\.csv: row 1.* of a\.csv.*lacks item, and it has thing besides"):
        list(open_table(str(tmp_path)).batches)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("user,item\na,b\n")
    batches = open_table(f"file://{path}").batches
    next(batches)
    path.write_text("user,item\na,b\nc,d\n")
    with pytest.raises(DataError, match="changed while it was read"):
        next(batches)
