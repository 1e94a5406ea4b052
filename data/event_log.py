"""The offline log: Parquet parts to which the streams of the online store are drained. Pure file code.

`<log_dir>/events/part-07-1750000000000_0-1750000009999_3.parquet` holds the events of partition 7 from one stream id
to another; `<log_dir>/exposures/` is laid out alike. A part appears whole or not at all. `bulk-...` instead of
`part-...` holds history that was imported without having been in a stream; its stream ids are made by the import.
"""

import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.dataset import DataError
from data.log_tables import IDENTITY, KINDS, SCHEMAS, Kind, stream_id

COLUMNS = ("user_id", "item_id", "event_type", "value", "timestamp_ms", "received_ms", "event_id", "simulated")
_DICTIONARIES = ("user_id", "item_id", "event_type")
_ORDER = ("timestamp_ms", "event_id", "user_id")
_IDENTICAL = ["user_id", "event_id", "item_id", "event_type", "value"]
_NAME = re.compile(r"(part|bulk)-(\d+)-(\d+)_(\d+)-(\d+)_(\d+)\.parquet")


@dataclass(frozen=True, order=True)
class LogPart:
    """One file of the log. `first` and `last` are the stream ids it was written for; `bulk`: none was in a stream."""

    partition: int
    first: tuple[int, int]
    last: tuple[int, int]
    path: Path
    bulk: bool = False


class EventLog:
    """The log in a directory.

    Args:
        log_dir: holds `events/` and `exposures/`; need not exist yet.
    """

    def __init__(self, log_dir: Path) -> None:
        self.log_dir = log_dir
        self._counted: dict[Path, tuple[tuple[int, int], int, int]] = {}

    def parts(self, kind: Kind, partition: int | None = None) -> list[LogPart]:
        """The parts by partition and stream id.

        Raises:
            DataError: a Parquet file whose name is none of ours.
        """
        found = []
        for path in (self.log_dir / kind).glob("*.parquet"):
            match = _NAME.fullmatch(path.name)
            if match is None:
                raise DataError(f"{path}: it does not belong into the log; move it away")
            number, *ids = map(int, match.groups()[1:])
            if partition is None or number == partition:
                found.append(LogPart(number, (ids[0], ids[1]), (ids[2], ids[3]), path, match[1] == "bulk"))
        return sorted(found)

    def event_files(self) -> list[Path]:
        """The files of all events."""
        return [part.path for part in self.parts("events")]

    def write_part(self, kind: Kind, partition: int, table: pa.Table, bulk: bool = False) -> LogPart:
        """Write rows (at least one, by stream id) as a new part that survives a power cut once this returns."""
        first, last = stream_id(table["stream_id"][0].as_py()), stream_id(table["stream_id"][-1].as_py())
        name = f"{'bulk' if bulk else 'part'}-{partition:02d}-{first[0]}_{first[1]}-{last[0]}_{last[1]}.parquet"
        path = self.log_dir / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, table)
        return LogPart(partition, first, last, path, bulk)

    def held(self, kind: Kind, partition: int, since: tuple[int, int]) -> set[tuple[str, str]]:
        """(stream id, event or recommendation id) of rows in parts that reach beyond `since`.

        A compaction killed between its rename and its trim left entries both here and in the stream.
        """
        parts = [part for part in self.parts(kind, partition) if part.last >= since and not part.bulk]
        return {pair for part in parts for pair in _identities(kind, part.path)}

    def tables(self, kind: Kind, partition: int | None = None, bulk: bool | None = None) -> Iterator[pa.Table]:
        """The parts one after another, by partition and stream id, without repeated rows.

        Parts overlap only where a compaction went on after it had lost its lock; then the row counts once.

        Args:
            bulk: only parts that were (True) or were not (False) written in bulk; None for all.
        """
        previous: list[LogPart] = []
        for part in self.parts(kind, partition):
            if bulk is not None and part.bulk != bulk:
                continue
            table = _read(part.path)
            if part.bulk:
                yield table
                continue
            previous = [old for old in previous if old.partition == part.partition and old.last >= part.first]
            if previous:
                seen = {pair for old in previous for pair in _identities(kind, old.path)}
                fresh = [pair not in seen for pair in _identities(kind, part.path)]
                table = table.filter(pa.array(fresh, pa.bool_()))
            previous.append(part)
            yield table

    def part_tables(self, parts: Iterable[LogPart], columns: list[str]) -> Iterator[tuple[LogPart, pa.Table]]:
        """These columns of parts, one after another."""
        for part in parts:
            yield part, _read(part.path, columns)

    def columns(self, part: LogPart) -> list[str]:
        """The columns that a part has; those of earlier versions lack some. Raises `DataError`."""
        return _columns(part.path)

    def count_events(self, simulated: bool) -> int:
        """Events of all parts, with or without simulated ones; a part that was counted before is not opened again."""
        total = 0
        for part in self.parts("events"):
            found = part.path.stat()
            state = (found.st_mtime_ns, found.st_size)
            known = self._counted.get(part.path)
            if known is None or known[0] != state:
                marked = _read(part.path, ["simulated"])[0] if "simulated" in _columns(part.path) else None
                rows = int(pq.read_metadata(part.path).num_rows)
                invented = 0 if marked is None else int(pc.sum(marked).as_py() or 0)
                known = self._counted[part.path] = (state, rows, rows - invented)
            total += known[1] if simulated else known[2]
        return total

    def part_rows(self, part: LogPart, after: tuple[int, int]) -> list[tuple[tuple[int, int], dict[str, object]]]:
        """Rows of a part beyond a stream id, with their ids."""
        rows = ((stream_id(row["stream_id"]), row) for row in _read(part.path).to_pylist())
        return [(at, row) for at, row in rows if at > after]

    def part_users(self, part: LogPart, simulated: bool) -> list[str]:
        """The user of every event of a part, by stream id, with or without simulated ones."""
        marked = not simulated and "simulated" in _columns(part.path)
        table = _read(part.path, ["user_id", "simulated"] if marked else ["user_id"])
        if marked:
            table = table.filter(pc.invert(pc.fill_null(table["simulated"], False)))
        users: list[str] = table["user_id"].to_pylist()
        return users

    def user_rows(self, kind: Kind, partition: int, user_id: str) -> list[dict[str, object]]:
        """All rows of a user, oldest first by stream id."""
        rows: list[dict[str, object]] = []
        for table in self.tables(kind, partition):
            rows += table.filter(pc.equal(table["user_id"], user_id)).to_pylist()
        return rows

    def erase_user(self, partition: int, user_id: str) -> int:
        """Remove a user's rows by rewriting the parts that hold some, each atomically. Returns how many.

        The caller holds the maintenance lock: a compaction must not write this user's rows meanwhile.
        """
        erased = 0
        for kind in KINDS:
            for part in self.parts(kind, partition):
                mine = pc.equal(_read(part.path, ["user_id"])["user_id"], user_id)
                count = pc.sum(mine).as_py() or 0
                if count:
                    _write(part.path, _read(part.path).filter(pc.invert(mine)))
                    erased += count
        return erased

    def sweep(self) -> int:
        """Remove what killed writers left. Only under the maintenance lock. Returns how many files."""
        leftovers = [path for kind in KINDS for path in (self.log_dir / kind).glob(".*.tmp")]
        for path in leftovers:
            path.unlink()
        return len(leftovers)


def read_event_log(log_dir: Path, parts: Sequence[LogPart] | None = None) -> pa.Table:
    """All logged events for training, with the columns `COLUMNS`, by (timestamp_ms, event_id).

    Ids of users and items and the types are dictionaries, which take 4 bytes a row. The order does not depend on how
    the parts were cut. What a user sent twice under one event id is one event, whatever a retry past the deduplication
    window did; another item, type or value under that id is another event.

    Args:
        parts: of the events; None for all that there are.

    Raises:
        DataError: a file cannot be read or lacks a column.
    """
    schema = pa.schema([SCHEMAS["events"].field(name) for name in COLUMNS]).remove_metadata()
    tables = [_training_rows(part.path) for part in (EventLog(log_dir).parts("events") if parts is None else parts)]
    table = (pa.concat_tables(tables) if tables else schema.empty_table()).unify_dictionaries()
    table = table.set_column(table.column_names.index("value"), "value", table["value"].cast(pa.float32(), safe=False))
    keys = pa.table({name: table[name].cast(schema.field(name).type) for name in _ORDER})
    table = table.take(pc.sort_indices(keys, [(name, "ascending") for name in _ORDER]))
    return table.filter(pa.array(~_repeated(table)))


def _repeated(table: pa.Table) -> np.ndarray:
    """(n,) bool: an earlier row says the same."""
    if not table.num_rows:
        return np.zeros(0, bool)
    # By a digest of 64 bits first: only rows that share it are compared
    digests = _digests(table)
    order = np.argsort(digests, kind="stable")
    same = digests[order][1:] == digests[order][:-1]
    doubtful = np.sort(np.unique(np.concatenate([order[1:][same], order[:-1][same]])))
    found = np.zeros(table.num_rows, bool)
    if len(doubtful):
        frame = table.select(_IDENTICAL).take(doubtful).to_pandas()
        found[doubtful] = frame.astype(object).duplicated().to_numpy()
    return found


def _digests(table: pa.Table) -> np.ndarray:
    """(n,) uint64 of user and event id."""
    found = [
        pd.util.hash_array(batch["event_id"].to_numpy(zero_copy_only=False), categorize=False)
        + np.uint64(0x9E3779B97F4A7C15) * batch["user_id"].indices.to_numpy().astype(np.uint64)
        for batch in table.select(["event_id", "user_id"]).to_batches(1_000_000)
    ]
    return np.concatenate(found)


def _training_rows(path: Path) -> pa.Table:
    if "simulated" in _columns(path):
        return _read(path, list(COLUMNS), list(_DICTIONARIES))
    # Parts that were written before there was any simulation lack the column.
    table = _read(path, [name for name in COLUMNS if name != "simulated"], list(_DICTIONARIES))
    return table.append_column("simulated", pa.array([False] * table.num_rows, pa.bool_()))


def _columns(path: Path) -> list[str]:
    try:
        return list(pq.read_schema(path).names)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: this part of the event log cannot be read: {error}") from error


def _identities(kind: Kind, path: Path) -> list[tuple[str, str]]:
    table = _read(path, ["stream_id", IDENTITY[kind]])
    return list(zip(table[0].to_pylist(), table[1].to_pylist(), strict=True))


def _check_types(path: Path) -> None:
    """Raises ValueError for a part whose columns are of other types than its kind's: they may be missing, not wrong."""
    expected = SCHEMAS[path.parent.name]  # type: ignore[index]
    for field in pq.read_schema(path):
        found = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if field.name in expected.names and not found.equals(expected.field(field.name).type):
            raise ValueError(f"the column {field.name} is {found}, expected {expected.field(field.name).type}")


def _read(path: Path, columns: list[str] | None = None, dictionaries: list[str] | None = None) -> pa.Table:
    try:
        _check_types(path)
        return pq.read_table(path, columns=columns, partitioning=None, read_dictionary=dictionaries)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: this part of the event log cannot be read: {error}") from error


def _write(path: Path, table: pa.Table) -> None:
    """Replace `path` atomically and durably."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
