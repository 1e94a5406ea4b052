"""History on its way from a file into the log: kept aside batch by batch, put into the log as a whole at the end.

Kept in a folder of its own until the file is read to its end, so that a rebuild or a training never sees a part of it.
Each file there holds one batch, with a row group for each partition: the log is made one partition at a time.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.event_log import EventLog
from data.log_tables import SCHEMAS
from features.redis.keys import Keys

_MADE = ("received_ms", "stream_id", "partition")  # what a row gets when it enters the log
STAGED = pa.schema([field for field in SCHEMAS["events"] if field.name not in _MADE]).append(
    pa.field("row", pa.int64())
)
_SAID = ("item_id", "event_type", "value")


@dataclass(frozen=True)
class Merged:
    """What became of a partition's rows: how many are in the log now, how many said what was said before, and the rows
    whose event id names another event of their user."""

    recorded: int
    duplicates: int
    conflicts: list[tuple[int, str]]


class StagedHistory:
    """The batches of one import.

    Args:
        folder: holds them; need not exist yet.
        keys: they say which partition a user belongs to.
    """

    def __init__(self, folder: Path, keys: Keys) -> None:
        self._folder, self._keys = folder, keys

    def add(self, first: int, tables: list[pa.Table]) -> int:
        """Keep the history of the batch that begins with this row; it replaces what a killed attempt kept of it.

        Returns:
            how many rows.
        """
        table = pa.concat_tables([STAGED.empty_table(), *tables])
        path = self._folder / f"{first:012d}.parquet"
        if not table.num_rows:
            path.unlink(missing_ok=True)
            return 0
        encoded = table["user_id"].combine_chunks().dictionary_encode()
        partitions = np.array([self._keys.partition_of(user) for user in encoded.dictionary.to_pylist()])
        partition = partitions[encoded.indices.to_numpy()]
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        with pq.ParquetWriter(temporary, STAGED) as writer:
            for number in range(self._keys.partitions):
                mine = table.take(pa.array(np.flatnonzero(partition == number)))
                writer.write_table(mine.combine_chunks(), row_group_size=max(1, len(mine)))
        temporary.replace(path)
        return table.num_rows

    def forget_from(self, row: int) -> None:
        """Remove what is kept of batches that begin with this row or later: they come again."""
        for path in self._paths():
            if int(path.stem) >= row:
                path.unlink()

    def publish(self, log: EventLog, partition: int, at_ms: int) -> Merged:
        """Put a partition's rows into the log, as one part. Again with the same `at_ms`, it changes nothing.

        Args:
            at_ms: the moment that stands in the rows' stream ids.
        """
        found = [pq.ParquetFile(path).read_row_group(partition) for path in self._paths()]
        table = pa.concat_tables([STAGED.empty_table(), *(part for part in found if len(part))])
        parts = log.parts("events", partition)
        there = [part for part in parts if part.bulk and part.first[0] == at_ms]
        known = (table for part, table in log.part_tables(parts, _IDENTICAL) if part not in there)
        same, other = _told_before(table, known)
        rows = table["row"].to_numpy()
        conflicts = [
            (int(rows[place]), event_id)
            for place, event_id in zip(
                np.flatnonzero(other).tolist(), table["event_id"].filter(pa.array(other)).to_pylist(), strict=True
            )
        ]
        fresh = table.filter(pa.array(~(same | other))).drop_columns(["row"])
        if len(fresh) and not there:
            n = len(fresh)
            numbers = pa.array(np.arange(n)).cast(pa.string())
            made = {
                "received_ms": pa.array(np.full(n, at_ms, np.int64)),
                "stream_id": pc.binary_join_element_wise(str(at_ms), numbers, "-"),
                "partition": pa.array(np.full(n, partition, np.int16)),
            }
            columns = {name: made[name] if name in made else fresh[name] for name in SCHEMAS["events"].names}
            log.write_part("events", partition, pa.table(columns, schema=SCHEMAS["events"]), bulk=True)
        return Merged(len(fresh), int(same.sum()), conflicts)

    def remove(self) -> None:
        """Forget everything: it is in the log."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet"))


_IDENTICAL = ["user_id", "event_id", *_SAID]


def _told_before(table: pa.Table, known: Iterator[pa.Table]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) bool each: a known or an earlier row has the same user and event id and says the same; or something else."""
    n = len(table)
    same, other = np.zeros(n, bool), np.zeros(n, bool)
    if not n:
        return same, other
    mine = _identities(table)
    distinct, counts = np.unique(mine, return_counts=True)
    repeated = distinct[counts > 1]
    said: dict[tuple[str, str], tuple[object, ...]] = {}
    doubtful = np.isin(mine, repeated)
    for old in known:
        theirs = _identities(old)
        doubtful |= np.isin(mine, theirs)
        for user, event, *content in _contents(old, np.isin(theirs, distinct)):
            said.setdefault((user, event), tuple(content))
    places = np.flatnonzero(doubtful).tolist()
    for place, (user, event, *content) in zip(places, _contents(table, doubtful), strict=True):
        before = said.get((user, event))
        if before is None:
            said[user, event] = tuple(content)
        else:
            same[place], other[place] = before == tuple(content), before != tuple(content)
    return same, other


def _contents(table: pa.Table, chosen: np.ndarray) -> Iterator[tuple[str, ...]]:
    part = table.select(_IDENTICAL).filter(pa.array(chosen))
    return zip(*(part[name].to_pylist() for name in _IDENTICAL), strict=True)


def _identities(table: pa.Table) -> np.ndarray:
    """(n,) uint64 by which user and event id are known; equal ones are compared by their texts."""
    users, events = (table[name].to_numpy() for name in ("user_id", "event_id"))
    user_hash = pd.util.hash_array(users, categorize=True)
    return user_hash * np.uint64(0x9E3779B97F4A7C15) + pd.util.hash_array(events, categorize=False)
