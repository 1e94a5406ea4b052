"""The answer of a SQL query by ADBC, from PostgreSQL or SQLite; needs pip install 'raycommend[sql]'."""

from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from typing import Any

import numpy as np
import pyarrow as pa

from data.dataset import DataError
from data.sources.addresses import shown
from data.sources.batches import RowBatch, SourceTable
from data.sources.csv_rows import column_names


def open_sql(address: str, query: str | None) -> SourceTable:
    """The rows of a query.

    Args:
        address: postgresql://user@host/database or sqlite:///path/to/file.db; after `#` the name of a table.
        query: SQL; None where the address names a table.

    Raises:
        DataError: no driver is installed, the database refuses, or neither a query nor a table is named.
    """
    uri, _, table = address.partition("#")
    if query is None and not table:
        raise DataError(
            f"{shown(uri)}: say what to read: a table as {shown(uri)}#orders, or in the map file "
            "interactions: {read: {query: SELECT ...}}"
        )
    name = f"{shown(uri)}#{table}" if table else shown(uri)
    quoted = '"' + table.replace('"', '""') + '"'
    open_here = ExitStack()
    reader = _answer(uri, query or f"SELECT * FROM {quoted}", name, open_here)  # noqa: S608 - the user's own table
    names = column_names(name, reader.schema.names)
    return SourceTable(name, names, _batches(name, reader, names, open_here))


def _answer(uri: str, query: str, name: str, open_here: ExitStack) -> pa.RecordBatchReader:
    driver = "sqlite" if uri.startswith("sqlite") else "postgresql"
    try:
        dbapi: Any = import_module(f"adbc_driver_{driver}.dbapi")
        adbc_error: type[Exception] = import_module("adbc_driver_manager").Error
    except ImportError:
        raise DataError(f"{name}: reading from {driver} needs a driver: pip install 'raycommend[sql]'") from None
    target = f"file:{uri.removeprefix('sqlite://')}?mode=ro" if driver == "sqlite" else uri
    try:
        connection = open_here.enter_context(dbapi.connect(target))
        cursor = open_here.enter_context(connection.cursor())
        cursor.execute(query)
        return cursor.fetch_record_batch()
    except adbc_error as error:
        open_here.close()
        raise DataError(f"{name}: the database refuses: {error}") from error


def _batches(name: str, reader: pa.RecordBatchReader, names: list[str], open_here: ExitStack) -> Iterator[RowBatch]:
    first = 1
    try:
        with open_here, reader:
            for batch in reader:
                table = pa.Table.from_batches([batch]).rename_columns(names)
                yield RowBatch(table, np.arange(first, first + table.num_rows, dtype=np.int64))
                first += table.num_rows
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{name}: row {first}: the database broke off: {error}") from error
