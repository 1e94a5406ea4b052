"""Events of a file, a folder or an object store in batches, as `data.sources` reads them.

Columns that are called as the fields of an event are taken as they are. Others are mapped: by a map, by the one that
the data set was imported with where it fits, or by a guess that is shown.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.event_types import EventTypes
from data.dataset import DataError
from data.imports.event_file import Row, check_columns, is_ours, json_rows
from data.mapping.column_map import MAP_FILE, Events, read_map
from data.mapping.events import EventReader
from data.mapping.plan import Sources, make_plan
from data.mapping.refusals import Refusals
from data.sources.addresses import SourceFile, find_files, is_sql, shown
from data.sources.json_lines import lines_of
from data.sources.open_table import ReadOptions, open_file, open_table

ROWS = 10_000
_PACKED = 4
"""About how many times larger text is than its `.gz`."""


@dataclass(frozen=True)
class EventBatch:
    """Rows of one file. They are numbered over all files from 1; the header of a CSV file has no number.

    Attributes:
        first, count: the number of the first row, and how many there are, refused and left out ones among them.
        rows: a table (cells of a CSV file as texts), or rows that were read one by one.
        numbers: (n,) int64, of the rows.
        typed: whether the values are what they are, as in JSON, and not cells to be read.
        refused: number, field and reason of each row that could not be read.
        file: its name; empty where there is only one.
        share: how much of all is read with this batch, by which the time left is told; None where that is not known.
    """

    first: int
    count: int
    rows: pa.Table | list[Row]
    numbers: np.ndarray
    typed: bool = False
    refused: list[tuple[int, str | None, str]] = field(default_factory=list)
    file: str = ""
    share: float | None = None

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    def part(self, first: int, last: int) -> "EventBatch":
        """The rows of these numbers."""
        begin, end = np.searchsorted(self.numbers, [first, last + 1]).tolist()
        return replace(
            self,
            first=first,
            count=last - first + 1,
            rows=self.rows[begin:end] if isinstance(self.rows, list) else self.rows.slice(begin, end - begin),
            numbers=self.numbers[begin:end],
            refused=[one for one in self.refused if first <= one[0] <= last],
        )

    def parts(self, after: int, rows: int) -> Iterator["EventBatch"]:
        """What comes after the row of a number, in parts of so many rows at most."""
        for first in range(max(self.first, after + 1), self.last + 1, rows):
            yield self.part(first, min(first + rows - 1, self.last))


class EventSource:
    """What is to be imported.

    Args:
        address: a file, a folder of files, or an address in an object store.
        types: the event types of the running system.
        preset: that they come from.
        map_file: says what the columns hold.
        processed: where the data set lies, whose map is taken if it fits.

    Attributes:
        lines: how the columns are mapped, for people; empty where they are taken as they are.
        size: of the text in bytes, about.

    Raises:
        DataError: it cannot be read, or it is not clear what its columns hold.
    """

    def __init__(
        self, address: str, types: EventTypes, preset: str, map_file: Path | None = None, processed: Path | None = None
    ) -> None:
        if is_sql(address):
            raise DataError(
                f"{shown(address)}: rows of a database have no fixed order, so that an import could not go on where it "
                "stopped; write them into a file (.csv, .jsonl or .parquet)"
            )
        self._address, self._types = address, types
        self._files = find_files(address)
        self.name = shown(address)
        self.size = sum(file.state()[0] * (_PACKED if file.compressed else 1) for file in self._files)
        self.map: Events | None = None
        self.lines: list[str] = []
        names = [] if map_file is not None else open_file(self._files[0], ReadOptions()).columns
        if map_file is not None or not is_ours(names):
            self._choose_map(preset, map_file, processed, names)

    def digest(self) -> str:
        """sha256 of the content, and of the map where there is one."""
        digests = []
        for file in self._files:
            digest = hashlib.sha256()
            for chunk in file.stored_chunks():
                digest.update(chunk)
            digests.append(digest.hexdigest())
        if len(digests) == 1 and self.map is None:
            return digests[0]
        told = "" if self.map is None else self.map.model_dump_json()
        return hashlib.sha256("\n".join([*digests, told]).encode()).hexdigest()

    def batches(self) -> Iterator[EventBatch]:
        """The rows, in the same order and with the same numbers whenever they are read.

        Raises:
            DataError: a file cannot be read to its end, or changes meanwhile.
        """
        first, read = 1, 0
        for found in self._mapped(self.map) if self.map is not None else self._plain():
            read += _bytes(found.rows)
            share = found.share if found.share is not None else min(0.99, read / max(1, self.size))
            refused = [(first + number, column, reason) for number, column, reason in found.refused]
            yield replace(found, first=first, numbers=found.numbers + first, refused=refused, share=share)
            first += found.count

    def _plain(self) -> Iterator[EventBatch]:
        for file in self._files:
            before, name = file.state(), file.name if len(self._files) > 1 else ""
            if file.kind == "json":
                rows = json_rows(lines_of(file.chunks()))
                while part := list(islice(rows, ROWS)):
                    yield EventBatch(0, len(part), part, np.arange(len(part)), True, file=name)
            else:
                table = open_file(file, ReadOptions())
                check_columns(file.name, table.columns)
                total = _rows_of_parquet(file) if len(self._files) == 1 and file.kind == "parquet" else 0
                done = 0
                for batch in table.batches:
                    numbers, refused = batch.places()
                    told: list[tuple[int, str | None, str]] = [
                        (place, None, f"line {line}: {reason}") for place, line, reason in refused
                    ]
                    count = len(numbers) + len(refused)
                    done += count
                    share = done / total if total else None
                    yield EventBatch(0, count, batch.table, numbers, refused=told, file=name, share=share)
            if file.state() != before:
                raise DataError(
                    f"{file.name}: it changed while it was read: wait until it is complete, and start again"
                )

    def _mapped(self, chosen: Events) -> Iterator[EventBatch]:
        reader = EventReader(chosen, self._types, self.name, Refusals(None), int(time.time() * 1000))
        for batch in open_table(self._address, chosen.read).batches:
            numbers, unread = batch.places()
            refused: list[tuple[int, str | None, str]] = [
                (place, None, f"line {line}: {reason}") for place, line, reason in unread
            ]
            count = len(numbers) + len(refused)
            found = reader.read_rows(batch.table)
            refused += [(int(numbers[place]), column, reason) for place, (column, reason) in found.faults.items()]
            table = found.table.filter(pa.array(found.good))
            yield EventBatch(0, count, table, numbers[found.good], refused=sorted(refused), file=batch.file)

    def _choose_map(self, preset: str, map_file: Path | None, processed: Path | None, names: list[str]) -> None:
        given: dict[str, Any] = {}
        if map_file is not None:
            given = _events_of(map_file)
        elif processed is not None and (processed / MAP_FILE).is_file():
            kept = _events_of(processed / MAP_FILE)
            given = kept if _columns(kept) <= set(names) else {}
        plan = make_plan(Sources(self._address, preset=preset, given={"interactions": given} if given else {}))
        self.map = plan.chosen.interactions
        self.lines = plan.lines
        if self.map.time.rows or self.map.time.order:
            raise DataError(
                f"{self.name}: it has no times, and events of a running system need theirs; import such a file as the "
                "data set, with make up DATA="
            )


def _events_of(map_file: Path) -> dict[str, Any]:
    return dict(read_map(map_file).get("interactions") or {})


def _columns(chosen: dict[str, Any]) -> set[str]:
    """The columns that a map names."""
    parts = [chosen.get(name) for name in ("user_id", "item_id", "time", "event_type", "value")]
    names = [part.get("column") if isinstance(part, dict) else part for part in parts]
    return {str(name).lower() for name in names if name is not None}


def _rows_of_parquet(file: SourceFile) -> int:
    with pq.ParquetFile(file.open()) as opened:
        return int(opened.metadata.num_rows)


def _bytes(rows: pa.Table | list[Row]) -> int:
    """About how many bytes of a text the rows took."""
    if isinstance(rows, list):
        return sum(40 if isinstance(row, DataError) else sum(len(str(v)) + 12 for v in row.values()) for row in rows)
    return int(max(0, rows.nbytes - 3 * rows.num_rows * rows.num_columns))
