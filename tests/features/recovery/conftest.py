from pathlib import Path

import pandas as pd
import pytest

from data.dataset import Dataset, Tables, load_dataset
from data.dataset_writer import write_dataset
from tests.features.recovery.rebuilding import CATEGORIES, ITEM_ATTRIBUTES, START_MS


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """120 ratings of 6 users, in no order of time."""
    n = 120
    interactions = pd.DataFrame(
        {
            "user_id": [f"u{k % 6}" for k in range(n)],
            "item_id": [f"i{(k * 7) % 30}" for k in range(n)],
            "event_type": ["rating" if k % 4 else "like" for k in range(n)],
            "value": [float(k % 5 + 1) if k % 4 else None for k in range(n)],
            "timestamp_ms": [START_MS - ((k * 37) % n) * 3_600_000 for k in range(n)],
        }
    )
    items = pd.DataFrame(
        {
            "item_id": list(CATEGORIES),
            "title": [f"Title {item}" for item in CATEGORIES],
            "year": pd.array([None, *[1990] * 29], dtype="Int16"),
            "categories": list(CATEGORIES.values()),
            "added_ms": pd.array([None, *[START_MS] * 29], dtype="Int64"),
            "brand": [None, *["Acme"] * 29],
            "colours": [None, ["red", "blue"], *[[]] * 28],
            "price": [None, 1.5, *[2] * 28],
            "new": [None, True, *[False] * 28],
            "since": pd.array([None, *[START_MS] * 29], dtype="Int64"),
        }
    )
    users = pd.DataFrame({"user_id": [f"u{k}" for k in range(6)], "age": [None, 30, 31, 32, 33, 34]})
    folder = tmp_path / "processed"
    tables = Tables(interactions, items, users, item_attributes=ITEM_ATTRIBUTES, user_attributes={"age": "number"})
    write_dataset(folder, tables, "toy", "a test", "0", ("str", "str"))
    return load_dataset(folder)


@pytest.fixture
def on_disk(dataset: Dataset, tmp_path: Path) -> Dataset:
    """The same without its interactions in memory."""
    return load_dataset(tmp_path / "processed", in_memory=False)
