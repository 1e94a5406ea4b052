"""The canonical form of a data set on disk: three Parquet files and a `dataset.json` that describes them.

interactions.parquet   user_id, item_id, event_type, value, timestamp_ms; in the row order of the source
items.parquet          item_id, title, year, categories, added_ms, and a column for each attribute of the items
users.parquet          user_id, and a column for each attribute of the users

`dataset.json` gives each attribute's type; a cell without a value is null.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from configs.settings import Settings
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
    "vector": pa.list_(pa.float32()),
}
"""How the column of an attribute is stored, by the attribute's type."""
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
    """A data set as read from disk.

    Attributes:
        directory: holds the interactions where they are not in memory: `interactions` is empty then.
    """

    interactions: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    meta: DatasetMeta
    directory: Path | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The interactions part by part, wherever they are."""
        if self.directory is not None:
            return interaction_batches(self.directory)
        return iter(pa.Table.from_pandas(self.interactions, INTERACTIONS, preserve_index=False).to_batches())


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


def id_types(directory: Path) -> tuple[Literal["int", "str"], Literal["int", "str"]]:
    """The types of user and item ids as the data set in `directory` has them; texts where there is none."""
    try:
        meta = read_description(directory)
    except DataError:
        return "str", "str"
    return meta.user_id_type, meta.item_id_type


def read_meta(directory: Path) -> DatasetMeta:
    """`dataset.json`, with the files verified against it.

    Raises:
        DataError: the data set is absent, incomplete or damaged.
    """
    meta = read_description(directory)
    for name, digest in meta.files.items():
        if not (directory / name).is_file() or file_sha256(directory / name) != digest:
            raise DataError(f"{directory / name}: it is missing or damaged; run `python -m data.prepare`")
    return meta


def load_dataset(directory: Path, in_memory: bool = True, item_ids: Collection[str] | None = None) -> Dataset:
    """Read and verify a data set. Raises `DataError` as `read_meta` does.

    Args:
        in_memory: whether to read the interactions, which may be many; otherwise `Dataset.batches` reads them.
        item_ids: the items that are wanted; None for all.
    """
    meta = read_meta(directory)
    wanted = None if item_ids is None else [("item_id", "in", item_ids)]
    items = pq.read_table(directory / dataset_file(1), filters=wanted).to_pandas()
    users = pq.read_table(directory / dataset_file(2)).to_pandas()
    first = pq.read_table(directory / dataset_file(0)) if in_memory else INTERACTIONS.empty_table()
    interactions = first.to_pandas()
    items["year"] = items["year"].astype("Int16")
    items["added_ms"] = items["added_ms"].astype("Int64")
    items["categories"] = [list(categories) for categories in items["categories"]]
    attributes = {"item_attributes": meta.item_attributes, "user_attributes": meta.user_attributes}
    return Dataset(interactions, items, users, meta, None if in_memory else directory, **attributes)


def interaction_files(directory: Path) -> list[Path]:
    """The file of the interactions; none without a data set."""
    path = directory / dataset_file(0)
    return [path] if path.is_file() else []


def interaction_batches(directory: Path, columns: Iterable[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The interactions of a data set part by part, for those who must not hold them all."""
    with pq.ParquetFile(directory / dataset_file(0)) as file:
        yield from file.iter_batches(columns=None if columns is None else list(columns))


def schema_with(fixed: pa.Schema, attributes: dict[str, AttributeType]) -> pa.Schema:
    """The fixed columns and those of the attributes, each with its type."""
    return pa.schema([*fixed, *(pa.field(name, ARROW_TYPES[kind]) for name, kind in attributes.items())])


def dataset_file(number: int) -> str:
    """The name of the file of interactions (0), items (1) or users (2)."""
    return ("interactions.parquet", "items.parquet", "users.parquet")[number]


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
