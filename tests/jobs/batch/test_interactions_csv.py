"""What `--train` reads as it is meant, and what it refuses with the row's number instead of training on it."""

from pathlib import Path

import pandas as pd
import pytest

from data.dataset import DataError
from jobs.batch.interactions_csv import read_interactions, read_user_column
from jobs.batch.recommend_csv import recommend
from models.factors.als import AlsParameters
from tests.jobs.job_data import two_tastes


def read(path: Path, content: str | bytes) -> pd.DataFrame:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_interactions(path)


DATES = "user,item,timestamp\na,x,20240101\na,y,20240102\na,z,20240103\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("user,item,rating\n1,u0,i0,4\n2,u0,i4,4\n", "row 2: 4 values, and the header names 3 columns"),
        ("user,item\nu0,i0,1\nu0,i4,5\n", "row 2: 3 values, and the header names 2 columns"),
        ("User,user,item\na,u0,i0\n", "row 1: two columns are called 'user' ('User', 'user')"),
        ("user,item,item\na,u0,i0\n", "row 1: two columns are called 'item'"),
        (",user,item\n0,u0,i0\n", "row 1: column 1 has no name"),
        ('user,item\nu0,i0\nu1,"i1" (new)\n', "row 3: it is not valid CSV"),
        (b"user,item\nu0,i0\n\nu1,caf\xe9\n", "row 4: it is not text in UTF-8"),
        ("user,item\nu0,i0\nNA,i1\n", "row 3, column 'user': 'NA' stands for nothing"),
        ("user,item\nu0,i0\n ,i1\n", "row 3, column 'user': ' ' is empty"),
        ("user,item\nu0,i0\nu1\n", "row 3, column 'item': '' is empty"),
        ("user,item\n196,i0\n196.0,i1\n", "row 3, column 'user': '196.0' is no id: give a whole number or a text"),
        ("user,item,timestamp\na,x,1700000000\na,y,20\n", "row 3, column 'timestamp': '20' is no time since 1990"),
        ("user,item,timestamp\na,x,1700000000\na,y,20240131\n", "row 3, column 'timestamp': '20240131' is no time"),
        (f"{DATES}u,i,1700000000\n", "row 5, column 'timestamp': '1700000000' is no date, as most are (20240131)"),
        (f"{DATES}u,i,20241350\n", "row 5, column 'timestamp': '20241350' is no date"),
        (f"{DATES}u,i,2024-01-31\n", "row 5, column 'timestamp': '2024-01-31' is not a number, as most are"),
        (
            "user,item,timestamp\na,x,2024-01-31\na,y,2024-02-01\na,z,20240131\n",
            "row 4, column 'timestamp': '20240131' is a number where most are dates",
        ),
        ("user,item,timestamp\na,x,500000000000\n", "row 2, column 'timestamp': '500000000000' is no time since 1990"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_and_nothing_is_trained(
    tmp_path: Path, content: str | bytes, words: str
) -> None:
    with pytest.raises(DataError) as refused:
        read(tmp_path / "train.csv", content)
    assert words in str(refused.value)


def test_empty_values_beyond_the_header_are_dropped(tmp_path: Path) -> None:
    frame = read(tmp_path / "train.csv", "user,item,rating\nu0,i0,4,\nu0,i4,2,,\n")
    assert frame[["user_id", "item_id", "value"]].to_numpy().tolist() == [["u0", "i0", 4.0], ["u0", "i4", 2.0]]


def test_each_timestamp_is_read_by_its_own_size(tmp_path: Path) -> None:
    """One value in milliseconds made milliseconds of all others: seconds of 2023 were a day in January 1970."""
    rows = "u1,i1,1,1700000000\nu1,i1,5,1600000000000\nu1,i2,4,1700000100.5\nu2,i1,4,1700000200000000\n"
    frame = read(tmp_path / "train.csv", f"user,item,rating,timestamp\n{rows}")
    assert frame["timestamp_ms"].tolist() == [1_700_000_000_000, 1_700_000_100_500, 1_700_000_200_000]
    assert frame["value"].tolist() == [1.0, 4.0, 4.0]


def test_whole_numbers_that_are_dates_are_read_as_dates(tmp_path: Path) -> None:
    frame = read(tmp_path / "train.csv", "user,item,timestamp\nu1,i1,20240131\nu1,i2,20240201\n")
    assert frame["timestamp_ms"].tolist() == [1_706_659_200_000, 1_706_745_600_000]


@pytest.mark.parametrize(
    ("times", "asked"),
    [
        ("7 3", "3 to 7 are no times since 1990"),
        ("1970-01-20 2024-01-31", "back to 1970-01-20"),
        ("893286638 1700000000", None),
    ],
)
def test_times_before_1990_are_questioned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], times: str, asked: str | None
) -> None:
    rows = "".join(f"u,i{place},{time}\n" for place, time in enumerate(times.split()))
    assert len(read(tmp_path / "train.csv", f"user,item,timestamp\n{rows}")) == 2
    said = capsys.readouterr().out
    assert said == "" if asked is None else asked in said


def test_ids_beyond_64_bits_keep_their_digits_and_the_largest_user_is_told(tmp_path: Path) -> None:
    frame = two_tastes(n_users=40)
    frame["user_id"] = [str(9_007_199_254_740_990 + int(user)) for user in frame["user_id"]]
    frame["item_id"] = [str(16_105_216_041_436_938_120 + int(item)) for item in frame["item_id"]]
    train = tmp_path / "train.csv"
    frame[["user_id", "item_id"]].set_axis(["user", "item"], axis=1).to_csv(train, index=False)
    read_back = read_interactions(train)
    said: list[str] = []
    parameters = AlsParameters(factors=4, regularization=2, alpha=4)
    found = recommend(read_back, "all", parameters, ranker=False, note=said.append)
    assert set(found["user"]) == set(frame["user_id"])
    assert set(found["item"]) <= set(frame["item_id"])
    counts = frame["user_id"].value_counts()
    assert said[1] == f"the largest user, {counts.index[0]!r}, holds {counts.iloc[0]} of them"


def test_a_file_of_users_is_read_by_the_same_rules(tmp_path: Path) -> None:
    users = tmp_path / "users.csv"
    users.write_text("USER\nu3\nu0\nu3\n")
    assert read_user_column(users) == ["u3", "u0"]
    users.write_text("user\nu3\nNA\n")
    with pytest.raises(DataError, match="row 3, column 'user': 'NA' stands for nothing"):
        read_user_column(users)
