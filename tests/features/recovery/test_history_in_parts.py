"""What is seeded is read part by part."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pyarrow as pa
import pytest

from data.dataset import Dataset, Tables, load_dataset
from data.dataset_writer import write_dataset
from data.event_log import EventLog
from features.recording.online_store import OnlineStore
from features.recovery.seeded_history import SeededHistory
from features.users.erasure import Erasures

pytestmark = pytest.mark.anyio
N = 600_000


class Watched(Dataset):
    """Notes what Arrow holds whenever a further part of the interactions is asked for."""

    held: ClassVar[list[int]] = []

    def batches(self) -> Iterator[pa.RecordBatch]:
        for batch in super().batches():
            self.held.append(pa.total_allocated_bytes())
            yield batch


def write_large(folder: Path) -> int:
    """A data set of N interactions. Returns the bytes that they take as a table."""
    items = [f"an item with a long name {k}" for k in range(997)]
    interactions = pa.table(
        {
            "user_id": [f"a user with a long name {k % 5_000}" for k in range(N)],
            "item_id": [items[k % 997] for k in range(N)],
            "event_type": ["view"] * N,
            "value": pa.nulls(N, pa.float32()),
            "timestamp_ms": list(range(N)),
        }
    )
    described = pd.DataFrame({"item_id": items, "title": items, "year": None, "added_ms": None})
    described["categories"] = [[] for _ in items]
    users = pd.DataFrame({"user_id": ["a user with a long name 1"]})
    write_dataset(folder, Tables(interactions, described, users), "large", "a test", "0", ("str", "str"))
    return int(interactions.nbytes)


async def test_memory_does_not_hold_all_interactions(valkey_store: OnlineStore, tmp_path: Path) -> None:
    """Regression: all of them were read into a frame, with a text for every cell."""
    size = write_large(tmp_path / "large")
    large = load_dataset(tmp_path / "large", in_memory=False)
    assert large.interactions.empty
    watched = Watched(large.interactions, large.items, large.users, large.meta, large.directory)
    before = pa.total_allocated_bytes()
    with SeededHistory(valkey_store, watched, EventLog(tmp_path / "log"), Erasures({})) as history:
        assert history.interactions == N
        assert len(watched.held) > 5
        assert max(watched.held) - before < size / 2, "a part of the file, whatever its length"
        assert max(watched.held) < 1.1 * watched.held[1]
        found = [history.of_partition(partition).table for partition in range(valkey_store.keys.partitions)]
    assert sum(len(table) for table in found) == N
    assert sum(table.nbytes for table in found) < size / 1.5, "texts are dictionaries"
    assert len(list((tmp_path / "large").iterdir())) == 4, "the files have no names"
