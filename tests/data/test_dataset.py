from pathlib import Path

import pandas as pd
import pytest

from data.dataset import DataError, Tables, load_dataset, read_meta
from data.dataset_writer import write_dataset


def tables(n: int = 3) -> Tables:
    interactions = pd.DataFrame(
        {
            "user_id": [f"u{i}" for i in range(n)],
            "item_id": ["a"] * n,
            "event_type": ["rating", "click", "click"][:n],
            "value": pd.Series([4.5, None, None][:n], dtype="float32"),
            "timestamp_ms": pd.Series([30, 10, 20][:n], dtype="int64"),
        }
    )
    items = pd.DataFrame(
        {
            "item_id": ["a", "b"],
            "title": ["A", "B"],
            "year": pd.Series([1999, None], dtype="Int16"),
            "categories": [["x", "y"], []],
            "added_ms": pd.Series([None, 5], dtype="Int64"),
        }
    )
    return Tables(interactions, items, pd.DataFrame({"user_id": [f"u{i}" for i in range(n)]}))


def write(folder: Path, n: int = 3) -> None:
    write_dataset(folder, tables(n), "test", "a test", "0" * 64, ("str", "str"))


def test_what_was_written_is_read_in_its_order(tmp_path: Path) -> None:
    write(tmp_path / "processed")
    dataset = load_dataset(tmp_path / "processed")
    pd.testing.assert_frame_equal(dataset.interactions, tables().interactions, check_dtype=False)
    assert dataset.items["categories"].tolist() == [["x", "y"], []]
    assert dataset.items["year"].tolist() == [1999, pd.NA]
    assert (dataset.meta.n_interactions, dataset.meta.n_users, dataset.meta.n_items) == (3, 3, 2)
    assert (dataset.meta.first_ms, dataset.meta.last_ms) == (10, 30)


def test_writing_again_replaces_the_whole(tmp_path: Path) -> None:
    write(tmp_path / "processed")
    before = read_meta(tmp_path / "processed")
    write(tmp_path / "processed", n=2)
    after = read_meta(tmp_path / "processed")
    assert (before.n_interactions, after.n_interactions) == (3, 2)
    assert before.fingerprint != after.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["processed"]


def test_no_interactions_leave_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "processed")
    with pytest.raises(DataError, match="holds no interactions"):
        write(tmp_path / "processed", n=0)
    assert read_meta(tmp_path / "processed").n_interactions == 3


@pytest.mark.parametrize("name", ["interactions.parquet", "items.parquet", "users.parquet", "dataset.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damage_is_named(tmp_path: Path, name: str, damage: str) -> None:
    write(tmp_path / "processed")
    file = tmp_path / "processed" / name
    raw = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(raw[:-10])
    with pytest.raises(DataError, match=name):
        load_dataset(tmp_path / "processed")
