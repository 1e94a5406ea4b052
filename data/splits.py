"""How interactions are divided for an evaluation. All functions give row numbers; nothing is copied.

The fixed splits are those of the project's measurement protocols; each has a published fingerprint, tested.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Split:
    """Row numbers of the two parts, int64, each in the order that the protocol gives."""

    train: np.ndarray
    test: np.ndarray


def fingerprint(users: np.ndarray, items: np.ndarray, ordered: bool = False) -> str:
    """sha256 of the lines `user,item` joined by newlines; as integer pairs in rising order unless `ordered`."""
    users, items = users.astype(np.int64), items.astype(np.int64)
    if not ordered:
        rising = np.lexsort((items, users))
        users, items = users[rising], items[rising]
    lines = (f"{user},{item}" for user, item in zip(users.tolist(), items.tolist(), strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def time_order(times_ms: np.ndarray, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Row numbers by (time, user, item)."""
    return np.lexsort((items, users, times_ms))


def temporal_split(times_ms: np.ndarray, users: np.ndarray, items: np.ndarray, test_share: float = 0.1) -> Split:
    """The latest `test_share` of the rows are the test, in order of (time, user, item)."""
    order = time_order(times_ms, users, items)
    cut = len(order) - round(test_share * len(order))
    return Split(order[:cut], order[cut:])


def benchmark_split(items: np.ndarray, seed: int = 42, train_share: float = 0.75) -> Split:
    """The published benchmark's split, stratified by item (protocol P1).

    One uniform number for each row in the given order; rows sorted by (item, number); of each item's n rows the
    first round(train_share * n) are train. `items` (n,) int, in the row order of the original file.
    """
    numbers = np.random.RandomState(seed).random_sample(len(items))
    order = np.lexsort((numbers, items))
    sizes = np.bincount(items)[items[order]]
    starts = np.searchsorted(items[order], items[order])
    place = np.arange(len(items)) - starts
    is_train = place < np.round(train_share * sizes)
    return Split(order[is_train], order[~is_train])


def inner_split(users: np.ndarray, seed: int, test_share: float = 0.1) -> Split:
    """A random share of every user's rows, for choosing hyper-parameters within the training part.

    Stratified by user, so that each keeps about the same share of history: a model is asked about users it knows.
    """
    numbers = np.random.default_rng(seed).random(len(users))
    order = np.lexsort((numbers, users))
    in_order = users[order]
    place = np.arange(len(users)) - np.searchsorted(in_order, in_order)
    sizes = np.bincount(users)[in_order]
    is_test = place < np.round(test_share * sizes)
    return Split(np.sort(order[~is_test]), np.sort(order[is_test]))


def rolling_windows(
    times_ms: np.ndarray,
    users: np.ndarray,
    items: np.ndarray,
    cutoffs: Sequence[float] = (0.6, 0.7, 0.8, 0.9),
    width: float = 0.1,
) -> list[Split]:
    """For each cutoff, all rows before it and the window after it, in order of (time, user, item) (protocol P2)."""
    order = time_order(times_ms, users, items)
    n = len(order)
    return [Split(order[: round(c * n)], order[round(c * n) : round((c + width) * n)]) for c in cutoffs]


def replay_split(times_ms: np.ndarray, train_share: float = 0.8, seed: int = 0) -> Split:
    """Train on this share of the rows, the first in time, and replay the rest in order (protocol P4).

    Rows of one time are put in a random but fixed order: a data set's own order within a second means nothing.
    """
    order = np.lexsort((np.random.default_rng(seed).random(len(times_ms)), times_ms))
    n_train = round(train_share * len(order))
    return Split(order[:n_train], order[n_train:])
