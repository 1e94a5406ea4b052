"""Near counts as a bundle keeps them: the pairs, what users took up last, and up to where the events are counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from models.relations.near_counts import CELLS, REACH, NearCounts

MOST_USERS = 10_000
_ACTIVE_MS = 86_400_000


@dataclass(frozen=True)
class NearState:
    """Near counts of n items.

    Attributes:
        edges: (n + 1,) int64; the pairs of item i are `items[edges[i]:edges[i + 1]]`.
        items, counts, minutes: (m,) int32, as in `NearCounts`.
        degrees: (n,) int64, as in `NearCounts`.
        users: (u,) int64 positions of the users who were active on the last day, `MOST_USERS` at most.
        latest, latest_ms: (u, REACH) int32 and int64, what these took up last.
        read: (p, 3) int64, for each partition of the event streams its number and the id (time, sequence) of the last
            entry that is counted.
    """

    edges: np.ndarray
    items: np.ndarray
    counts: np.ndarray
    minutes: np.ndarray
    degrees: np.ndarray
    users: np.ndarray
    latest: np.ndarray
    latest_ms: np.ndarray
    read: np.ndarray

    @classmethod
    def of(cls, counts: NearCounts, read: Mapping[int, tuple[int, int]]) -> Self:
        """What is kept of the counts.

        Args:
            read: partition -> id of the last entry that is counted.
        """
        n = counts.n_items
        sizes = counts.sizes[:n].astype(np.int64)
        flat = np.repeat(counts.offsets[:n] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        last_ms = np.where(counts.latest[:, 0] >= 0, counts.latest_ms[:, 0], -1)
        users = np.flatnonzero((last_ms >= 0) & (last_ms >= last_ms.max(initial=0) - _ACTIVE_MS))
        users = np.sort(users[np.argsort(-last_ms[users], kind="stable")][:MOST_USERS])
        return cls(
            edges=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            items=counts.cell_items[flat],
            counts=counts.cell_counts[flat],
            minutes=counts.cell_minutes[flat],
            degrees=counts.degrees[:n].copy(),
            users=users.astype(np.int64),
            latest=counts.latest[users],
            latest_ms=counts.latest_ms[users],
            read=np.array([(number, *at) for number, at in sorted(read.items())], np.int64).reshape(-1, 3),
        )

    def live(self, cells: int = CELLS) -> NearCounts:
        """Counts that go on from here; the k-th of `users` has position k. Where fewer cells may be used than there are
        pairs, the weakest go."""
        found = NearCounts(len(self.degrees), len(self.users), cells)
        n, u = len(self.degrees), len(self.users)
        found.offsets[:n], found.sizes[:n], found.degrees[:n] = self.edges[:-1], np.diff(self.edges), self.degrees
        found.cell_items, found.cell_counts, found.cell_minutes = self.items, self.counts, self.minutes
        found.latest[:u], found.latest_ms[:u] = self.latest, self.latest_ms
        found.make_room()
        return found

    def positions(self) -> dict[int, tuple[int, int]]:
        """partition -> id of the last entry that is counted."""
        return {number: (time_ms, sequence) for number, time_ms, sequence in self.read.tolist()}

    def check(self, n_items: int, n_users: int) -> None:
        """Raises ValueError naming the array that does not fit a model of so many items and users."""
        m, u = len(self.items), len(self.users)
        expected: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
            "edges": ((n_items + 1,), np.int64),
            "items": ((m,), np.int32),
            "counts": ((m,), np.int32),
            "minutes": ((m,), np.int32),
            "degrees": ((n_items,), np.int64),
            "users": ((u,), np.int64),
            "latest": ((u, REACH), np.int32),
            "latest_ms": ((u, REACH), np.int64),
            "read": ((len(self.read), 3), np.int64),
        }
        for name, (shape, kind) in expected.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != kind:
                raise ValueError(f"near_{name} is {array.dtype} {array.shape}, expected {np.dtype(kind).name} {shape}")
        if self.edges[0] != 0 or self.edges[-1] != m or (np.diff(self.edges) < 0).any():
            raise ValueError(f"near_edges must rise from 0 to the {m} pairs")
        for name, array, least, limit in (
            ("items", self.items, 0, n_items),
            ("latest", self.latest, -1, n_items),
            ("users", self.users, 0, n_users),
        ):
            if len(array) and not (array.min() >= least and array.max() < limit):
                raise ValueError(f"near_{name} must be positions of {limit}")
        if (self.counts <= 0).any() or (self.minutes < 0).any() or (self.degrees < 0).any():
            raise ValueError("near_counts must be above 0, near_minutes and near_degrees not below it")
