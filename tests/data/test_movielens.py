import zipfile
from pathlib import Path

import pandas as pd
import pytest

from data.builtin.download import DownloadError, download
from data.builtin.movielens import GENRES, open_source, parse
from data.dataset import DataError, Dataset, Tables
from data.dataset_writer import write_dataset
from data.prepare import GROUPLENS_MD5, GROUPLENS_URL


def flags(*genres: str) -> str:
    names = ("unknown", *GENRES)
    return "|".join("1" if name in genres else "0" for name in names)


# Rows of the two real forms of the data set, with what is odd in either.
U_ITEM = [
    f"12|Usual Suspects, The (1995)|14-Aug-1995||http://us.imdb.com/M/title-exact?x|{flags('Crime', 'Thriller')}",
    f"267|unknown||||{flags('unknown')}",
    f"1373|Good Morning (1971)|4-Feb-1971||http://us.imdb.com/x|{flags('unknown')}",
    "1412|Land Before Time III: The Time of the Great Giving (1995) (V)|01-Jan-1995||http://x|"
    + flags("Animation", "Children's"),
    f"1005|Double vie de Véronique, La (Double Life of Veronique, The) (1991)|01-Jan-1991||http://x|{flags('Drama')}",
    f"1535|Enfer, L' (1994)|01-Jan-1994||http://x|{flags('Drama')}",
    f"306|Mrs. Brown (Her Majesty, Mrs. Brown) (1997)|01-Jan-1997||http://x|{flags('Drama', 'Romance')}",
    f"172|Empire Strikes Back, The (1980)|01-Jan-1980||http://x|{flags('Action', 'Sci-Fi', 'Film-Noir')}",
]
ITEM = [
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
    "12\tUsual Suspects, The\t1995\tCrime Thriller",
    "267\tunkonwn\tunkonwn\tunknown",
    "1373\tGood Morning\t1971\tunknown",
    "1412\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation Children's",
    "1005\tDouble vie de Véronique, La (Double Life of Veronique, The)\t1991\tDrama",
    "1535\tEnfer, L'\t1994\tDrama",
    "306\tMrs. Brown (Her Majesty, Mrs. Brown)\t1997\tDrama Romance",
    "172\tEmpire Strikes Back, The\t1980\tAction Film-Noir Sci-Fi",
]
DATA = ["196\t12\t3\t881250949", "22\t1412\t1\t878887116", "22\t12\t5\t878887000"]
USERS = ["22|25|M|writer|40206", "196|49|M|writer|T8H1N"]


def fingerprint(folder: Path, tables: Tables) -> str:
    return write_dataset(folder, tables, "ml", "a test", "0" * 64, ("int", "int")).fingerprint


def write_movielens(folder: Path, **changed: list[str]) -> Path:
    files = {"u.data": DATA, "u.item": U_ITEM, "u.user": USERS} | {
        f"u.{name}": lines for name, lines in changed.items()
    }
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="latin-1")
    return folder


def write_recbole(folder: Path) -> Path:
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    users = ["user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"]
    files = {
        "ml-100k.inter": [header, *DATA],
        "ml-100k.item": ITEM,
        "ml-100k.user": [*users, *(line.replace("|", "\t") for line in USERS)],
    }
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_both_forms_give_the_same_tables(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = parse(open_source(write_movielens(tmp_path / "a")))
    other = parse(open_source(write_recbole(tmp_path / "b")))
    assert one.user_attributes == other.user_attributes
    for name in ("interactions", "items", "users"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert fingerprint(tmp_path / "one", one) == fingerprint(tmp_path / "other", other)


def test_what_the_tables_hold(tmp_path: Path) -> None:
    tables = parse(open_source(write_movielens(tmp_path)))
    items = tables.items.set_index("item_id")
    assert items["title"].to_dict() == {
        "12": "The Usual Suspects",
        "267": "unknown",
        "1373": "Good Morning",
        "1412": "Land Before Time III: The Time of the Great Giving",
        "1005": "La Double vie de Véronique (The Double Life of Veronique)",
        "1535": "L'Enfer",
        "306": "Mrs. Brown (Her Majesty, Mrs. Brown)",
        "172": "The Empire Strikes Back",
    }
    assert items.loc["12", "year"] == 1995
    assert pd.isna(items.loc["267", "year"])
    assert items.loc["1412", "year"] == 1995
    assert items.loc["267", "categories"] == items.loc["1373", "categories"] == []
    assert items.loc["1412", "categories"] == ["Animation", "Children's"]
    assert items.loc["172", "categories"] == ["Action", "Film-Noir", "Sci-Fi"]
    assert items.loc["12", "added_ms"] == 878887000_000
    assert pd.isna(items.loc["267", "added_ms"])
    first = tables.interactions.iloc[0].to_dict()
    assert first == {
        "user_id": "196",
        "item_id": "12",
        "event_type": "rating",
        "value": 3.0,
        "timestamp_ms": 881250949_000,
    }
    assert tables.interactions["user_id"].tolist() == ["196", "22", "22"]
    assert tables.users["zip_code"].tolist() == ["40206", "T8H1N"]


def test_an_archive_is_read_as_the_folder_is(tmp_path: Path) -> None:
    (tmp_path / "ml").mkdir()
    folder = write_movielens(tmp_path / "ml")
    with zipfile.ZipFile(tmp_path / "any.zip", "w") as archive:
        for name in ("u.data", "u.item", "u.user"):
            archive.write(folder / name, f"ml-100k/{name}")
    assert open_source(tmp_path / "any.zip").sha256 == open_source(folder).sha256


@pytest.mark.parametrize(
    ("file", "row", "line", "message"),
    [
        ("data", 2, "22\t1412\t1\tnoon", r"u\.data, row 2, column timestamp: 'noon'"),
        ("data", 3, "22\t12\t7\t878887000", r"u\.data, row 3, column rating: 7"),
        ("data", 1, "196\t12\t3", r"u\.data, row 1, column 3: 3 columns instead of 4"),
        ("data", 2, "", r"u\.data, row 2: the row is empty"),
        ("data", 1, "999\t12\t3\t881250949", r"u\.data, row 1, column user_id: 999 is not in the list of users"),
        ("data", 1, "196\t5\t3\t881250949", r"u\.data, row 1, column item_id: 5 is not in the list of items"),
        ("data", 3, "22\t1412\t5\t1", r"u\.data, row 3, column item_id: user 22 rated item 1412 before"),
        ("item", 1, U_ITEM[0].replace("|1|", "|x|", 1), r"u\.item, row 1, column Crime: 'x'"),
        ("item", 2, U_ITEM[0], r"u\.item, column item_id: 12 appears twice"),
        ("user", 2, "196|old|M|writer|1", r"u\.user, row 2, column age: 'old'"),
    ],
)
def test_a_corrupt_row_is_named(tmp_path: Path, file: str, row: int, line: str, message: str) -> None:
    lines = {"data": DATA, "item": U_ITEM, "user": USERS}[file].copy()
    lines[row - 1] = line
    with pytest.raises(DataError, match=message):
        parse(open_source(write_movielens(tmp_path, **{file: lines})))


def test_a_broken_byte_is_named(tmp_path: Path) -> None:
    write_recbole(tmp_path)
    file = tmp_path / "ml-100k.item"
    file.write_bytes(file.read_bytes().replace(b"Usual", b"Us\xffal"))
    with pytest.raises(DataError, match=r"ml-100k\.item, row 2: byte \d+ is not utf-8"):
        parse(open_source(tmp_path))


def test_an_incomplete_source_is_named(tmp_path: Path) -> None:
    write_movielens(tmp_path)
    (tmp_path / "u.user").unlink()
    with pytest.raises(DataError, match=r"u\.user is missing"):
        open_source(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        open_source(tmp_path / "nothing")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match=r"cut\.zip: it is not a complete zip"):
        open_source(tmp_path / "cut.zip")


def test_the_whole_data_set(movielens: Dataset) -> None:
    assert (len(movielens.interactions), movielens.meta.n_users, len(movielens.items)) == (100_000, 943, 1682)
    assert (movielens.meta.first_ms, movielens.meta.last_ms) == (874724710_000, 893286638_000)
    assert movielens.meta.fingerprint == "2c9b6a74d0fc3a2b0b3aff220583c3de6364a45f06d1769ce85449338b7289cc"
    categories = {genre for genres in movielens.items["categories"] for genre in genres}
    assert categories == set(GENRES)


def test_the_original_archive_is_the_same_data_set(movielens: Dataset, tmp_path: Path) -> None:
    try:
        archive = download(GROUPLENS_URL, tmp_path / "ml-100k.zip", "md5", GROUPLENS_MD5)
    except DownloadError as error:
        pytest.skip(f"the original archive cannot be had here: {error}")
    assert fingerprint(tmp_path / "written", parse(open_source(archive))) == movielens.meta.fingerprint
