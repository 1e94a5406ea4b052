"""The canonical form of a data set on disk: three Parquet files and a `dataset.json` that describes them.

interactions.parquet   user_id, item_id, event_type, value, timestamp_ms; in the row order of the source
items.parquet          item_id, title, year, categories, added_ms, and a column for each attribute of the items
users.parquet          user_id, and a column for each attribute of the users

`dataset.json` gives each attribute's type; a cell without a value is null.
"""

import errno
import hashlib
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from configs.settings import Settings
from data.fields.attributes import AttributeType
from data.fingerprint import fingerprint

META = "dataset.json"
INTERACTIONS = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("event_type", pa.string(), nullable=False),
        pa.field("value", pa.float32()),
        pa.field("timestamp_ms", pa.int64(), nullable=False),
    ]
)
ITEMS = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("year", pa.int16()),
        pa.field("categories", pa.list_(pa.string()), nullable=False),
        pa.field("added_ms", pa.int64()),
    ]
)
USERS = pa.schema([pa.field("user_id", pa.string(), nullable=False)])
ARROW_TYPES: dict[AttributeType, pa.DataType] = {
    "number": pa.float64(),
    "text": pa.string(),
    "keyword": pa.string(),
    "keywords": pa.list_(pa.string()),
    "flag": pa.bool_(),
    "time": pa.int64(),
}
"""How the column of an attribute is stored, by the attribute's type."""
ROW_GROUP = 500_000
_FIXED = (INTERACTIONS.names, ITEMS.names, USERS.names)
IdType = Literal["int", "str"]


class DataError(ValueError):
    """The data cannot be used; the message names the file, and the row and column where there is one."""


class DatasetMeta(BaseModel):
    """`dataset.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    user_id_type: Literal["int", "str"]
    item_id_type: Literal["int", "str"]
    n_interactions: int
    n_users: int
    n_items: int
    first_ms: int
    last_ms: int
    fingerprint: str
    source: str
    source_hash: str
    files: dict[str, str]
    item_attributes: dict[str, AttributeType] = Field(default_factory=dict)
    user_attributes: dict[str, AttributeType] = Field(default_factory=dict)
    preset: str | None = None
    """The preset of `configs/presets` that was chosen at the import; None: that of the settings."""
    time_trusted: bool = True
    """Whether the times say what came before what; False where the order of the rows or one moment stands in."""


@dataclass(frozen=True)
class Tables:
    """A data set before it is written. Columns as in the module's head; `users` has `user_id` first."""

    interactions: pd.DataFrame | pa.Table
    items: pd.DataFrame | pa.Table
    users: pd.DataFrame | pa.Table
    item_attributes: dict[str, AttributeType] = field(default_factory=dict, kw_only=True)
    user_attributes: dict[str, AttributeType] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class Dataset(Tables):
    """A data set as read from disk."""

    interactions: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    meta: DatasetMeta


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
            self._interactions = pq.ParquetWriter(self._partial / _file(0), INTERACTIONS)
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
            pq.write_table(_cast(items, ITEMS, item_attributes or {}), self._partial / _file(1))
            pq.write_table(_cast(users, USERS, user_attributes or {}), self._partial / _file(2))
            meta = DatasetMeta(
                name=name,
                user_id_type=id_types[0],
                item_id_type=id_types[1],
                n_interactions=self.n_interactions,
                n_users=len(self.users),
                n_items=items.num_rows,
                first_ms=self.first_ms,
                last_ms=self.last_ms,
                fingerprint=fingerprint([(self._partial / _file(i), fixed) for i, fixed in enumerate(_FIXED)]),
                source=source,
                source_hash=source_hash,
                files={_file(i): _sha256(self._partial / _file(i)) for i in range(3)},
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
) -> DatasetMeta:
    """Write a data set that is in memory; `directory` holds the whole of it or what it held before.

    Args:
        directory: replaced.
        tables: what to write.
        name, source, source_hash, id_types, preset: as in `DatasetWriter.finish`.

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
        )


def processed_dir(settings: Settings) -> Path:
    """Where the canonical data set lies."""
    return settings.data_dir / "processed"


def read_description(directory: Path) -> DatasetMeta:
    """`dataset.json` alone: reading through the files takes long where they are large.

    Raises:
        DataError: it is absent or damaged.
    """
    path = directory / META
    try:
        return DatasetMeta.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path}: no data set here yet; run `python -m data.prepare`") from error
    except (OSError, ValidationError) as error:
        raise DataError(f"{path}: it is damaged; run `python -m data.prepare`") from error


def item_id_type(directory: Path) -> Literal["int", "str"]:
    """The type of item ids as the data set in `directory` has it; texts where there is none."""
    try:
        return read_description(directory).item_id_type
    except DataError:
        return "str"


def read_meta(directory: Path) -> DatasetMeta:
    """`dataset.json`, with the files verified against it.

    Raises:
        DataError: the data set is absent, incomplete or damaged.
    """
    meta = read_description(directory)
    for name, digest in meta.files.items():
        if not (directory / name).is_file() or _sha256(directory / name) != digest:
            raise DataError(f"{directory / name}: it is missing or damaged; run `python -m data.prepare`")
    return meta


def load_dataset(directory: Path) -> Dataset:
    """Read and verify a data set. Raises `DataError` as `read_meta` does."""
    meta = read_meta(directory)
    interactions, items, users = (pq.read_table(directory / _file(i)).to_pandas() for i in range(3))
    items["year"] = items["year"].astype("Int16")
    items["added_ms"] = items["added_ms"].astype("Int64")
    items["categories"] = [list(categories) for categories in items["categories"]]
    attributes = {"item_attributes": meta.item_attributes, "user_attributes": meta.user_attributes}
    return Dataset(interactions, items, users, meta, **attributes)


def interaction_batches(directory: Path, columns: Iterable[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The interactions of a data set part by part, for those who must not hold them all."""
    with pq.ParquetFile(directory / _file(0)) as file:
        yield from file.iter_batches(columns=None if columns is None else list(columns))


def _table(frame: pd.DataFrame | pa.Table, fixed: pa.Schema, attributes: dict[str, AttributeType]) -> pa.Table:
    if isinstance(frame, pa.Table):
        return frame
    return pa.Table.from_pandas(frame, schema_with(fixed, attributes), preserve_index=False)


def _cast(table: pa.Table, fixed: pa.Schema, attributes: dict[str, AttributeType]) -> pa.Table:
    schema = schema_with(fixed, attributes)
    return table.select(schema.names).cast(schema)


def schema_with(fixed: pa.Schema, attributes: dict[str, AttributeType]) -> pa.Schema:
    """The fixed columns and those of the attributes, each with its type."""
    return pa.schema([*fixed, *(pa.field(name, ARROW_TYPES[kind]) for name, kind in attributes.items())])


def _file(number: int) -> str:
    return ("interactions.parquet", "items.parquet", "users.parquet")[number]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
