"""What is said of files that are not what their names say, and which files of a folder are read."""

import gzip
from pathlib import Path

import pytest

from data.dataset import DataError
from data.mapping.import_tables import import_tables
from data.mapping.plan import Sources, make_plan
from data.sources.addresses import find_files, passed_over
from data.sources.open_table import ReadOptions, open_table

ROWS = "customer,sku,datum,amount\n" + "".join(f"c{n % 7},s{n % 5},2026-01-01,{n}\n" for n in range(20))


def test_a_folder_is_read_by_the_kind_of_most_files_and_the_others_are_named(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "README.txt", "notes.md", "meta.json", ".hidden.csv"):
        (tmp_path / name).write_text(ROWS)
    assert [file.name for file in find_files(str(tmp_path))] == ["a.csv", "b.csv"]
    assert passed_over(str(tmp_path)) == ["README.txt", "meta.json", "notes.md"]
    lines = make_plan(Sources(str(tmp_path))).lines
    assert f"note: passed over in {tmp_path}: README.txt, meta.json, notes.md" in lines
    (tmp_path / "c.jsonl").write_text("")
    with pytest.raises(DataError, match="as many files of several kinds"):
        find_files(str(tmp_path))


def test_a_folder_of_texts_only_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(ROWS)
    assert [file.name for file in find_files(str(tmp_path))] == ["a.txt"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(ROWS.encode()), r"it is compressed by gzip: give it a name that ends in \.gz"),
        ("Käufer;Artikel\n".encode("cp1252"), r"it is not text in UTF-8; .* read: \{encoding: cp1252\}"),
        (b"0\t0\t1\t880000000\n1\t1\t2\t880001000\n", r"holds values \(0, 0, 1, 880000000\) .* read: \{columns:"),
        (b"u1,i1,2026-01-01,5\n", r"holds values \(u1, i1, 2026-01-01, 5\)"),
        (b"u1,i1,1700000000,view\n", r"holds values \(u1, i1, 1700000000, view\) .* read: \{columns:"),
        (b"%PDF-1.7\nxx", "it is a PDF and no table"),
        (b"\x89PNG\r\n", "it is a picture and no table"),
        (b"PAR1" + bytes(90), r"it is a Parquet file: give it a name that ends in \.parquet"),
        (b"\xd0\xcf\x11\xe0" + bytes(90), "it is a file of Excel and not text: save it as CSV"),
        (b'<?xml version="1.0"?>\n<rows/>', "it is XML and not a table"),
        (b'{"error": "not found"}', r"it is JSON and not a table: give it a name that ends in \.jsonl"),
        (b"BZh91AY", "compressed by bzip2: unpack it"),
        ((ROWS[:60] + "\0").encode(), r"row 3: it is not text: it holds zero bytes\. .*encoding: utf-16-le"),
        (ROWS.encode("utf-16-le"), "row 1: it is not text: it holds zero bytes"),
    ],
)
def test_a_file_that_is_not_what_it_seems_is_named_with_the_remedy(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "orders.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        open_table(str(tmp_path / "orders.csv"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (ROWS.encode(), r"its name ends in \.gz, and it is not compressed by gzip"),
        (gzip.compress(gzip.compress(ROWS.encode())), "it is compressed twice: unpack it once"),
        (gzip.compress(ROWS.encode())[:-20], "it ends before it is complete: copy it again"),
    ],
)
def test_a_packed_file_that_cannot_be_unpacked_says_what_to_do(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "orders.csv.gz").write_bytes(content)
    with pytest.raises(DataError, match=words):
        list(open_table(str(tmp_path / "orders.csv.gz")).batches)


def test_utf_32_is_read_by_its_mark(tmp_path: Path) -> None:
    """Regression: its mark begins as that of UTF-16 does, and every second character was a zero byte."""
    (tmp_path / "orders.csv").write_bytes(ROWS.encode("utf-32"))
    assert open_table(str(tmp_path / "orders.csv")).columns == ["customer", "sku", "datum", "amount"]


def test_one_zero_byte_costs_its_row(tmp_path: Path) -> None:
    rows = ROWS.replace("c3,s3,", "c3,s\x003,", 1) + "c1,s1,2026-01-01,1\n" * 50
    (tmp_path / "orders.csv").write_text(rows)
    plan = make_plan(Sources(str(tmp_path / "orders.csv")))
    found = import_tables(plan, tmp_path / "processed", tmp_path / "refused.jsonl")
    [told] = found.refusals.first
    assert told.endswith("orders.csv: row 5, column sku: 's\\x003' is no id: must not contain control characters")


@pytest.mark.parametrize("above", ["sep=;\n", "Orders of 2026\n", "Orders;;;\n;;;\n"])
def test_lines_above_the_header_are_named(tmp_path: Path, above: str) -> None:
    (tmp_path / "orders.csv").write_text(above + ROWS.replace(",", ";"))
    with pytest.raises(DataError, match="names 1 columns: is its first row the header\\? Take away what stands above"):
        make_plan(Sources(str(tmp_path / "orders.csv")))


def test_rows_in_another_encoding_name_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_bytes(ROWS.encode() + "Jürgen,s1,2026-01-01,1\n".encode("cp1252"))
    refused = [reason for batch in open_table(str(tmp_path / "orders.csv")).batches for _, reason in batch.refused]
    assert refused == ["it is not text in UTF-8; for a file of Windows write read: {encoding: cp1252} into the map"]


@pytest.mark.parametrize("n", [3, 5])
def test_names_of_columns_must_be_as_many_as_the_columns(tmp_path: Path, n: int) -> None:
    (tmp_path / "orders.csv").write_text("1,2,3,4\n")
    with pytest.raises(DataError, match=rf"read\.columns names {n} columns, and the first row has 4 values"):
        open_table(str(tmp_path / "orders.csv"), ReadOptions(columns=list("abcde")[:n]))
    four = open_table(str(tmp_path / "orders.csv"), ReadOptions(columns=list("abcd")))
    assert next(four.batches).table.num_rows == 1


def test_proposals_are_readable_in_any_language(tmp_path: Path) -> None:
    rows = "".join(f"c{n % 7},s{n % 5},2026-01-01,{'Käufe' if n % 2 else 'Blick'},1\n" for n in range(20))
    (tmp_path / "orders.csv").write_text("customer,sku,datum,kind,amount\n" + rows)
    with pytest.raises(DataError, match="- Käufe"):
        make_plan(Sources(str(tmp_path / "orders.csv")))


def test_a_field_that_the_objects_of_one_file_never_have_holds_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_text('{"user": "a", "item": "x", "stars": 4}\n')
    (tmp_path / "2.jsonl").write_text('{"user": "b", "item": "y", "more": 1}\n')
    rows = [row for batch in open_table(str(tmp_path)).batches for row in batch.table.to_pylist()]
    assert rows == [{"user": "a", "item": "x", "stars": 4}, {"user": "b", "item": "y", "stars": None}]
