"""What every reader gives: columns, row numbers, and the rows that could not be read."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Batch:
    """Some rows of a source.

    Attributes:
        table: (n rows) the columns by name.
        rows: (n,) int64, the number of each row: its line in a text file (the header is line 1), else counted from 1.
        refused: number and reason of each row that is no row of the table.
        file: which file of the source it is, for messages.
    """

    table: pa.Table
    rows: np.ndarray
    refused: list[tuple[int, str]] = field(default_factory=list)
    file: str = ""


@dataclass(frozen=True)
class SourceTable:
    """A table that can be read once.

    Attributes:
        address: where it lies, for messages; without passwords.
        columns: names in small letters, each once.
        batches: the rows in their order.
        types: by column name, the type that the file itself gives it, where it does.
    """

    address: str
    columns: list[str]
    batches: Iterator[Batch]
    types: dict[str, str] = field(default_factory=dict)
