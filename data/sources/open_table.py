"""`open_table`: one table from a file, a folder of files, an object store or a database."""

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from data.dataset import DataError
from data.sources.addresses import SourceFile, find_files, is_sql, shown
from data.sources.batches import RowBatch, SourceTable
from data.sources.csv_table import open_atomic, open_csv
from data.sources.json_lines import open_json_lines
from data.sources.parquet_table import open_parquet
from data.sources.sql_table import open_sql


class ReadOptions(BaseModel):
    """How a source is read, where it cannot be seen from the source itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    separator: str | None = Field(None, min_length=1, max_length=1, description="between the cells of a text file")
    encoding: str | None = Field(None, description="of a text file, as cp1252; UTF-8 when absent")
    columns: list[str] | None = Field(None, description="names of the columns of a text file without a header")
    query: str | None = Field(None, description="SQL, for a database")


def open_table(address: str, options: ReadOptions | None = None) -> SourceTable:
    """A table, whose files follow one another in the order of their names.

    Raises:
        DataError: it is not there or cannot be read; while it is read, also where a file changes meanwhile.
    """
    options = options or ReadOptions()
    if is_sql(address):
        return open_sql(address, options.query)
    files = find_files(address)
    first = open_file(files[0], options)
    return SourceTable(shown(address), first.columns, _all(files, first, options), first.types)


def _all(files: list[SourceFile], first: SourceTable, options: ReadOptions) -> Iterator[RowBatch]:
    for place, file in enumerate(files):
        before = file.state()
        table = first if place == 0 else open_file(file, options)
        if file.kind != "json":
            _check_columns(file, table.columns, files[0], first.columns)
        for batch in table.batches:
            part = _with_columns(batch.table, first.columns)
            yield replace(batch, table=part, file=file.name if len(files) > 1 else "")
        if file.state() != before:
            raise DataError(f"{file.name}: it changed while it was read: wait until it is complete, and start again")


def _check_columns(file: SourceFile, columns: list[str], first: SourceFile, expected: list[str]) -> None:
    """Raises `DataError` that says how the columns of a file differ from those of the first file of the folder."""
    lacks = [name for name in expected if name not in columns]
    more = [name for name in columns if name not in expected]
    said = [f"it lacks {', '.join(lacks)}"] * bool(lacks) + [f"it has {', '.join(more)} besides"] * bool(more)
    if said:
        raise DataError(
            f"{file.name}: row 1: its columns are not those of {first.name}, the first file: {', and '.join(said)}; "
            "the files of a folder need the same columns: mend the file, or give the others in a folder of their own"
        )


def _with_columns(table: pa.Table, names: list[str]) -> pa.Table:
    """The columns by name; one that the objects of a file of JSON lines never have holds nothing."""
    missing = pa.nulls(table.num_rows, pa.string())
    return pa.table([table[name] if name in table.column_names else missing for name in names], names=names)


def open_file(file: SourceFile, options: ReadOptions) -> SourceTable:
    """The table of one file. Raises `DataError` where it cannot be read."""
    if file.kind == "parquet":
        return open_parquet(file)
    if file.kind == "json":
        return open_json_lines(file.name, file.chunks())
    if file.kind == "atomic":
        return open_atomic(file.name, file.chunks())
    separator = options.separator or ("\t" if file.path.removesuffix(".gz").endswith((".tsv", ".tab")) else None)
    return open_csv(file.name, file.chunks(), separator, options.encoding, options.columns)
