"""What every reader gives: columns, row numbers, and the rows that could not be read."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class RowBatch:
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

    def places(self) -> tuple[np.ndarray, list[tuple[int, int, str]]]:
        """Where rows stand in the batch when refused ones are counted too, from 0.

        Returns:
            (n,) int64, of the rows; and place, number and reason of each refused row.
        """
        refused = sorted(self.refused)
        lines = np.array([line for line, _ in refused], np.int64)
        rows = np.arange(len(self.rows)) + np.searchsorted(lines, self.rows)
        places = np.arange(len(lines)) + np.searchsorted(self.rows, lines)
        return rows, [(int(place), line, reason) for place, (line, reason) in zip(places, refused, strict=True)]


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
    batches: Iterator[RowBatch]
    types: dict[str, str] = field(default_factory=dict)
