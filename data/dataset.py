"""The canonical form of a data set on disk: three Parquet files and a `dataset.json` that describes them.

interactions.parquet   user_id, item_id, event_type, value, timestamp_ms; in the row order of the source
items.parquet          item_id, title, year, categories, added_ms, and a column for each attribute of the items
users.parquet          user_id, and a column for each attribute of the users

`dataset.json` gives each attribute's type; a cell without a value is null.
"""

import hashlib
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data.fields.attributes import AttributeType

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


@dataclass(frozen=True)
class Tables:
    """A data set in memory, before it is written. Columns as in the module's head; `users` has `user_id` first."""

    interactions: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    item_attributes: dict[str, AttributeType] = field(default_factory=dict, kw_only=True)
    user_attributes: dict[str, AttributeType] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class Dataset(Tables):
    """A data set as read from disk."""

    meta: DatasetMeta


def write_dataset(
    directory: Path,
    tables: Tables,
    name: str,
    source: str,
    source_hash: str,
    id_types: tuple[Literal["int", "str"], Literal["int", "str"]],
) -> DatasetMeta:
    """Write a data set; `directory` holds the whole of it or what it held before.

    Args:
        directory: replaced.
        tables: what to write.
        name: the data set's name.
        source: where the data came from, in words for people.
        source_hash: sha256 of the source files, to see whether they changed.
        id_types: the types of user ids and of item ids, as clients see them.

    Raises:
        DataError: there are no interactions.
    """
    interactions, items, users = tables.interactions, tables.items, tables.users
    if interactions.empty:
        raise DataError(f"{source}: it holds no interactions")
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = directory.with_name(f".{directory.name}-{uuid.uuid4().hex}")
    partial.mkdir()
    try:
        pq.write_table(pa.Table.from_pandas(interactions, INTERACTIONS, preserve_index=False), partial / _file(0))
        pq.write_table(_table(items, ITEMS, tables.item_attributes), partial / _file(1))
        pq.write_table(_table(users, USERS, tables.user_attributes), partial / _file(2))
        meta = DatasetMeta(
            name=name,
            user_id_type=id_types[0],
            item_id_type=id_types[1],
            n_interactions=len(interactions),
            n_users=int(interactions["user_id"].nunique()),
            n_items=len(items),
            first_ms=int(interactions["timestamp_ms"].min()),
            last_ms=int(interactions["timestamp_ms"].max()),
            fingerprint=fingerprint(tables),
            source=source,
            source_hash=source_hash,
            files={_file(i): _sha256(partial / _file(i)) for i in range(3)},
            item_attributes=tables.item_attributes,
            user_attributes=tables.user_attributes,
        )
        (partial / META).write_text(meta.model_dump_json(indent=2) + "\n")
        replaced = partial.with_name(f"{partial.name}-old")
        if directory.exists():
            directory.rename(replaced)
        partial.rename(directory)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return meta


def read_meta(directory: Path) -> DatasetMeta:
    """`dataset.json`, with the files verified against it.

    Raises:
        DataError: the data set is absent, incomplete or damaged.
    """
    path = directory / META
    try:
        meta = DatasetMeta.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path}: no data set here yet; run `python -m data.prepare`") from error
    except ValidationError as error:
        raise DataError(f"{path}: it is damaged; run `python -m data.prepare`") from error
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


def fingerprint(tables: Tables) -> str:
    """sha256 over the content, the same whatever file format or source it came from."""
    digest = hashlib.sha256()
    for frame in (tables.interactions, tables.items, tables.users):
        for column in frame.columns:
            digest.update(f"\n\n{column}\n".encode())
            values = frame[column]
            if values.dtype.kind in "iuf":
                kind = "<f8" if values.dtype.kind == "f" else "<i8"
                array = values.to_numpy(dtype=kind, na_value=-1 if kind == "<i8" else np.nan)
                digest.update(np.ascontiguousarray(array).data)
            else:
                texts = ("|".join(v) if isinstance(v, list) else str(v) for v in values)
                digest.update("\n".join(texts).encode())
    return digest.hexdigest()


def _table(frame: pd.DataFrame, fixed: pa.Schema, attributes: dict[str, AttributeType]) -> pa.Table:
    """The fixed columns and those of the attributes, each with its type."""
    columns = [*fixed, *(pa.field(name, ARROW_TYPES[kind]) for name, kind in attributes.items())]
    return pa.Table.from_pandas(frame, pa.schema(columns), preserve_index=False)


def _file(number: int) -> str:
    return ("interactions.parquet", "items.parquet", "users.parquet")[number]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
