"""Files of events in batches: as Arrow tables where that is safe, row by row where it is not.

A block of a CSV file without any quote, whose rows all have the header's number of cells, means the same to every
reader, so pyarrow may read it. From the first other block on, the careful reader reads the rest of the file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from data.dataset import DataError
from data.imports.event_file import Row, check_columns, read_rows
from data.sources.csv_rows import column_names, read_csv

BLOCK_BYTES = 4_000_000
ROWS = 10_000
PARQUET_ROWS = 100_000


@dataclass(frozen=True)
class Batch:
    """Rows of a file.

    Attributes:
        first: the number of the first row, from 1.
        rows: a table (cells of a CSV file as texts, without a value where empty), or rows from the careful reader.
        share: how much of the file ends with this batch, by which the time left is told.
    """

    first: int
    rows: pa.Table | list[Row]
    share: float

    def __len__(self) -> int:
        return len(self.rows)


def read_batches(path: Path) -> Iterator[Batch]:
    """The batches, cut in the same places whenever the file is read.

    Raises:
        DataError: as `data.imports.event_file.read_rows`.
    """
    careful = read_rows(path)
    if path.suffix.lower() == ".csv":
        return _csv_batches(path)
    if path.suffix.lower() == ".parquet":
        return _parquet_batches(path)
    return _careful(path, careful, 1)


def _careful(path: Path, rows: Iterator[tuple[int, Row]], first: int) -> Iterator[Batch]:
    size, read = max(1, path.stat().st_size), 0
    while found := list(islice(rows, ROWS)):
        read += sum(_length(row) for _, row in found)
        yield Batch(first, [row for _, row in found], min(0.99, read / size))
        first += len(found)


def _length(row: Row) -> int:
    """About how many bytes of the file a row took."""
    return 40 if isinstance(row, DataError) else sum(len(str(value)) + 1 for value in row.values())


def _csv_batches(path: Path) -> Iterator[Batch]:
    names, _ = read_csv(path)
    check_columns(path, names)
    first, size = 1, max(1, path.stat().st_size)
    with path.open("rb") as file:
        plain = b'"' not in file.readline()
        while plain and (block := file.read(BLOCK_BYTES)):
            table = _plain_table(block + file.readline(), names)
            if table is None:
                plain = False
            else:
                yield Batch(first, table, min(1.0, file.tell() / size))
                first += len(table)
    if not plain:
        yield from _careful(path, islice(read_rows(path), first - 1, None), first)


def _plain_table(block: bytes, names: list[str]) -> pa.Table | None:
    """The block's cells as texts; None where only the careful reader knows what it means."""
    block = block.replace(b"\r\n", b"\n")
    if b'"' in block or b"\r" in block:
        return None
    if not block.strip(b"\n"):
        return pa.table({name: pa.array([], pa.string()) for name in names})
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(block),
            pyarrow.csv.ReadOptions(column_names=names),
            pyarrow.csv.ParseOptions(quote_char=False),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except pa.ArrowInvalid:
        return None


def _parquet_batches(path: Path) -> Iterator[Batch]:
    try:
        with pq.ParquetFile(path) as file:
            names = column_names(path, file.schema_arrow.names)
            check_columns(path, names)
            first, rows = 1, max(1, file.metadata.num_rows)
            for batch in file.iter_batches(PARQUET_ROWS):
                yield Batch(
                    first, pa.Table.from_batches([batch]).rename_columns(names), (first + len(batch) - 1) / rows
                )
                first += len(batch)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: it is no whole Parquet file: {error}") from error
