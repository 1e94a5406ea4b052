"""Writes a data set: part by part as it is read from a source, or one that is in memory; whole or not at all."""

import errno
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.dataset import (
    INTERACTIONS,
    ITEMS,
    META,
    USERS,
    DataError,
    DatasetMeta,
    IdType,
    Tables,
    dataset_file,
    file_sha256,
    schema_with,
)
from data.fields.attributes import AttributeType
from data.fingerprint import fingerprint

ROW_GROUP = 500_000
_FIXED = (INTERACTIONS.names, ITEMS.names, USERS.names)


class DatasetWriter:
    """Writes a data set part by part into a folder beside its own, which it replaces as a whole at the end.

    Attributes:
        n_interactions: how many were added.
        users, items: the ids of the interactions, each once, in the order in which they came.
        first_ms, last_ms: the span of their times; 0 without any.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._partial = directory.with_name(f".{directory.name}-{uuid.uuid4().hex}")
        self._waiting: list[pa.Table] = []
        self._interactions: pq.ParquetWriter | None = None
        self.n_interactions = 0
        self.users: dict[str, None] = {}
        self.items: dict[str, None] = {}
        self.first_ms = self.last_ms = 0

    def __enter__(self) -> Self:
        with self._disk():
            self._directory.parent.mkdir(parents=True, exist_ok=True)
            self._partial.mkdir()
            self._interactions = pq.ParquetWriter(self._partial / dataset_file(0), INTERACTIONS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._interactions is not None and self._interactions.is_open:
            with suppress(OSError):  # a full disk, which was told already
                self._interactions.close()
        shutil.rmtree(self._partial, ignore_errors=True)

    def add(self, interactions: pa.Table) -> None:
        """Add interactions with the columns of `INTERACTIONS`. Raises `DataError` where the disk is full."""
        if not interactions.num_rows:
            return
        table = interactions.select(INTERACTIONS.names).cast(INTERACTIONS)
        span = pc.min_max(table["timestamp_ms"]).as_py()
        self.first_ms = span["min"] if not self.n_interactions else min(self.first_ms, span["min"])
        self.last_ms = span["max"] if not self.n_interactions else max(self.last_ms, span["max"])
        self.users |= dict.fromkeys(pc.unique(table["user_id"]).to_pylist())
        self.items |= dict.fromkeys(pc.unique(table["item_id"]).to_pylist())
        self.n_interactions += table.num_rows
        self._waiting.append(table)
        if sum(part.num_rows for part in self._waiting) >= ROW_GROUP:
            self._flush()

    def finish(
        self,
        items: pa.Table,
        users: pa.Table,
        *,
        name: str,
        source: str,
        source_hash: str,
        id_types: tuple[IdType, IdType],
        item_attributes: dict[str, AttributeType] | None = None,
        user_attributes: dict[str, AttributeType] | None = None,
        preset: str | None = None,
        time_trusted: bool = True,
        beside: dict[str, str] | None = None,
    ) -> DatasetMeta:
        """Write the rest, and put the whole in the place of what was there.

        Args:
            items, users: with the columns of `ITEMS` and `USERS` and those of the attributes.
            name: the data set's name.
            source: where the data came from, in words for people.
            source_hash: sha256 of the source files, to see whether they changed.
            id_types: the types of user ids and of item ids, as clients see them.
            preset, time_trusted: as in `DatasetMeta`.
            beside: further text files by name, such as the map that was used.

        Raises:
            DataError: the disk is full.
        """
        assert self._interactions is not None
        self._flush()
        with self._disk():
            self._interactions.close()
            pq.write_table(_cast(items, ITEMS, item_attributes or {}), self._partial / dataset_file(1))
            pq.write_table(_cast(users, USERS, user_attributes or {}), self._partial / dataset_file(2))
            meta = DatasetMeta(
                name=name,
                user_id_type=id_types[0],
                item_id_type=id_types[1],
                n_interactions=self.n_interactions,
                n_users=len(self.users),
                n_items=items.num_rows,
                first_ms=self.first_ms,
                last_ms=self.last_ms,
                fingerprint=fingerprint([(self._partial / dataset_file(i), fixed) for i, fixed in enumerate(_FIXED)]),
                source=source,
                source_hash=source_hash,
                files={dataset_file(i): file_sha256(self._partial / dataset_file(i)) for i in range(3)},
                item_attributes=item_attributes or {},
                user_attributes=user_attributes or {},
                preset=preset,
                time_trusted=time_trusted,
            )
            for file, text in (beside or {}).items():
                (self._partial / file).write_text(text, encoding="utf-8")
            (self._partial / META).write_text(meta.model_dump_json(indent=2) + "\n")
            replaced = self._partial.with_name(f"{self._partial.name}-old")
            if self._directory.exists():
                self._directory.rename(replaced)
            self._partial.rename(self._directory)
            shutil.rmtree(replaced, ignore_errors=True)
        return meta

    def _flush(self) -> None:
        assert self._interactions is not None
        if self._waiting:
            with self._disk():
                self._interactions.write_table(pa.concat_tables(self._waiting).combine_chunks(), ROW_GROUP)
            self._waiting = []

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = "the disk is full: make room" if error.errno == errno.ENOSPC else str(error)
            raise DataError(
                f"{self._directory}: the data set cannot be written: {what}; what was there stays"
            ) from error


def write_dataset(
    directory: Path,
    tables: Tables,
    name: str,
    source: str,
    source_hash: str,
    id_types: tuple[IdType, IdType],
    preset: str | None = None,
    time_trusted: bool = True,
) -> DatasetMeta:
    """Write a data set that is in memory; `directory` holds the whole of it or what it held before.

    Args:
        directory: replaced.
        tables: what to write.
        name, source, source_hash, id_types, preset, time_trusted: as in `DatasetWriter.finish`.

    Raises:
        DataError: there are no interactions, or the disk is full.
    """
    if not len(tables.interactions):
        raise DataError(f"{source}: it holds no interactions")
    with DatasetWriter(directory) as writer:
        writer.add(_table(tables.interactions, INTERACTIONS, {}))
        return writer.finish(
            _table(tables.items, ITEMS, tables.item_attributes),
            _table(tables.users, USERS, tables.user_attributes),
            name=name,
            source=source,
            source_hash=source_hash,
            id_types=id_types,
            item_attributes=tables.item_attributes,
            user_attributes=tables.user_attributes,
            preset=preset,
            time_trusted=time_trusted,
        )


def _table(frame: pd.DataFrame | pa.Table, fixed: pa.Schema, attributes: dict[str, AttributeType]) -> pa.Table:
    if isinstance(frame, pa.Table):
        return frame
    return pa.Table.from_pandas(frame, schema_with(fixed, attributes), preserve_index=False)


def _cast(table: pa.Table, fixed: pa.Schema, attributes: dict[str, AttributeType]) -> pa.Table:
    schema = schema_with(fixed, attributes)
    return table.select(schema.names).cast(schema)
