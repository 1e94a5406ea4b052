"""The state of a data set in numbers: how much there is, how it is spread, and what is odd about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from data.dataset import interaction_batches, read_meta

MANY_TIES = 0.5
"""Above this share of events that are tied in time with another of their user, times do not order a user's events."""


@dataclass(frozen=True)
class Survey:
    """Counts over all interactions of a data set.

    Attributes:
        duplicates: events that repeat another one in user, item, type and time.
        repeats: events of a user with an item that the user had before.
        user_share, item_share: share of the events that the most frequent user and item have, and which they are.
        ties: share of the events that have their time in common with another event of their user.
        by_type: events by type.
    """

    n_events: int
    n_users: int
    n_items: int
    n_catalogue: int
    first_ms: int
    last_ms: int
    duplicates: int
    repeats: int
    user_share: tuple[str, float]
    item_share: tuple[str, float]
    ties: float
    by_type: dict[str, int]
    time_trusted: bool

    def lines(self, dated: bool = True) -> Iterator[str]:
        """The survey for people.

        Args:
            dated: whether the times say when something was, and not only what came before what.
        """
        span_days = (self.last_ms - self.first_ms) / 86_400_000
        types = ", ".join(f"{name} {count:,}" for name, count in self.by_type.items())
        rows = {
            "events": f"{self.n_events:,} ({types})",
            "users": f"{self.n_users:,}, {self.n_events / self.n_users:.1f} events each",
            "items": f"{self.n_items:,} with events, {self.n_catalogue:,} in the catalogue",
            "span": f"{_day(self.first_ms)} to {_day(self.last_ms)} ({span_days:,.0f} days)"
            if dated
            else "not known: there are no times, only an order",
            "largest user": f"{self.user_share[0]}: {self.user_share[1]:.2%} of the events",
            "largest item": f"{self.item_share[0]}: {self.item_share[1]:.2%} of the events",
            "duplicates": f"{self.duplicates:,} events repeat another in user, item, type and time",
            "repeats": f"{self.repeats / self.n_events:.1%} of the events are of an item that the user had before",
            "ties in time": f"{self.ties:.1%} of the events share their time with another of the same user",
            "times": self._times(dated),
        }
        for name, words in rows.items():
            yield f"  {name:<14}{words}"

    def _times(self, dated: bool) -> str:
        if not self.time_trusted:
            return "cannot be trusted: evaluations split at random"
        if self.ties <= MANY_TIES:
            return "can be trusted" if dated else "say what came before what, and not when"
        return "say when, but most events share theirs with another of the same user, whose order they do not tell"


def survey(directory: Path) -> Survey:
    """Count over the data set in a folder. Holds some 50 bytes an event. Raises `DataError` where it is damaged."""
    meta = read_meta(directory)
    users, user_ids = _codes(directory, "user_id")
    items, item_ids = _codes(directory, "item_id")
    types, type_names = _codes(directory, "event_type")
    times = np.concatenate([batch[0].to_numpy() for batch in interaction_batches(directory, ["timestamp_ms"])])
    pairs = users.astype(np.int64) * len(item_ids) + items
    n = len(times)
    user_counts, item_counts, type_counts = np.bincount(users), np.bincount(items), np.bincount(types)
    return Survey(
        n_events=n,
        n_users=len(user_ids),
        n_items=len(item_ids),
        n_catalogue=meta.n_items,
        first_ms=meta.first_ms,
        last_ms=meta.last_ms,
        duplicates=n - _distinct(pairs * len(type_names) + types, times),
        repeats=n - len(np.unique(pairs)),
        user_share=(user_ids[int(user_counts.argmax())], float(user_counts.max() / n)),
        item_share=(item_ids[int(item_counts.argmax())], float(item_counts.max() / n)),
        ties=_tied(users, times) / n,
        by_type=dict(zip(type_names, type_counts.tolist(), strict=True)),
        time_trusted=meta.time_trusted,
    )


def _codes(directory: Path, column: str) -> tuple[np.ndarray, list[str]]:
    """The column as (n,) int32 positions in its distinct texts."""
    parts = [batch.column(0).dictionary_encode() for batch in interaction_batches(directory, [column])]
    whole = pa.chunked_array(parts).unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in whole.chunks])
    return codes, whole.chunk(whole.num_chunks - 1).dictionary.to_pylist()


def _distinct(keys: np.ndarray, times: np.ndarray) -> int:
    order = np.lexsort((times, keys))
    keys, times = keys[order], times[order]
    return 1 + int(((np.diff(keys) != 0) | (np.diff(times) != 0)).sum())


def _tied(users: np.ndarray, times: np.ndarray) -> int:
    """Events whose user has another one at the same moment."""
    order = np.lexsort((times, users))
    users, times = users[order], times[order]
    same = (np.diff(users) == 0) & (np.diff(times) == 0)
    return int((np.append(same, False) | np.insert(same, 0, False)).sum())


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
