"""Parquet, batch by batch."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.dataset import DataError
from data.sources.addresses import SourceFile
from data.sources.batches import RowBatch, SourceTable
from data.sources.csv_rows import column_names

BATCH_ROWS = 100_000


def open_parquet(file: SourceFile) -> SourceTable:
    """Raises `DataError` where it is no whole Parquet file, or two columns have one name."""
    try:
        opened = pq.ParquetFile(file.open())
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file.name}: it is no whole Parquet file: {error}") from error
    names = column_names(file.name, opened.schema_arrow.names)
    return SourceTable(file.name, names, _batches(file.name, opened, names))


def _batches(name: str, opened: pq.ParquetFile, names: list[str]) -> Iterator[RowBatch]:
    first = 1
    try:
        for batch in opened.iter_batches(BATCH_ROWS):
            table = pa.Table.from_batches([batch]).rename_columns(names)
            yield RowBatch(table, np.arange(first, first + table.num_rows, dtype=np.int64))
            first += table.num_rows
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{name}: row {first}: it is no whole Parquet file: {error}") from error
    finally:
        opened.close()
