import numpy as np
import pytest

from data.dataset import Dataset
from data.splits import (
    benchmark_split,
    fingerprint,
    inner_split,
    replay_split,
    rolling_windows,
    temporal_split,
)

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def columns(movielens: Dataset) -> Columns:
    frame = movielens.interactions
    return (
        frame["user_id"].astype(int).to_numpy(),
        frame["item_id"].astype(int).to_numpy(),
        frame["timestamp_ms"].to_numpy(),
    )


def test_the_published_benchmark_split(columns: Columns) -> None:
    users, items, _ = columns
    split = benchmark_split(items)
    assert (len(split.train), len(split.test)) == (75_066, 24_934)
    assert fingerprint(users[split.test], items[split.test]).startswith("063422740e5b55ca")
    assert fingerprint(users[split.train], items[split.train]).startswith("730bf1787f4af1da")


def test_the_rolling_windows(columns: Columns) -> None:
    users, items, times = columns
    windows = rolling_windows(times, users, items)
    found = [fingerprint(users[w.test], items[w.test])[:16] for w in windows]
    assert found == ["3d02ffa785b8ce66", "13f20afbaf5e833f", "d1f014a4bc525093", "21071cb3dd97a735"]
    assert [len(w.train) for w in windows] == [60_000, 70_000, 80_000, 90_000]


def test_the_replay_order(columns: Columns) -> None:
    users, items, times = columns
    split = replay_split(times)
    assert fingerprint(users[split.test], items[split.test], ordered=True).startswith("b3a1729a509d0a13")
    known = np.isin(items[split.test], items[split.train])
    assert known.sum() == 19_798


def test_the_temporal_split_cuts_at_one_time() -> None:
    times = np.array([5, 1, 9, 3, 7, 2, 8, 4, 6, 0])
    split = temporal_split(times, np.zeros(10, int), np.arange(10), 0.3)
    assert times[split.test].tolist() == [7, 8, 9]
    assert times[split.train].max() < times[split.test].min()


def test_the_inner_split_takes_a_share_of_each_user() -> None:
    users = np.repeat([0, 1, 2], [10, 20, 3])
    split = inner_split(users, seed=1, test_share=0.2)
    assert np.bincount(users[split.test], minlength=3).tolist() == [2, 4, 1]
    assert sorted([*split.train, *split.test]) == list(range(33))
    assert not np.array_equal(split.test, inner_split(users, seed=2, test_share=0.2).test)
    np.testing.assert_array_equal(split.test, inner_split(users, seed=1, test_share=0.2).test)
