"""What is said of files that are not what their names say, and which files of a folder are read."""

import gzip
from pathlib import Path

import pytest

from data.dataset import DataError
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
    ],
)
def test_a_file_that_is_not_what_it_seems_is_named_with_the_remedy(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "orders.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        open_table(str(tmp_path / "orders.csv"))


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
