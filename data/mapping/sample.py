"""The first rows of a table, and what their cells look like; guesses are made on it."""

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.mapping.conversions import COMMA_NUMBER, ids, is_nested, numbers, texts, times
from data.sources.batches import SourceTable

ROWS = 20_000
FORMATS = (
    *("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y"),
    *("%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y"),
    *("%d.%m.%y %H:%M:%S", "%d.%m.%y %H:%M", "%d.%m.%y"),
    *("%m/%d/%y %H:%M:%S", "%m/%d/%y %H:%M", "%m/%d/%y", "%d/%m/%y %H:%M:%S", "%d/%m/%y %H:%M", "%d/%m/%y"),
    *("%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%d-%m-%Y", "%m-%d-%Y", "%b %d, %Y", "%m %d, %Y"),
)
_MOST = 0.9
_CLEAR_COMMA = r"^[+-]?([0-9]{4,}|0[0-9]*|[0-9]+(\.[0-9]{3})+),[0-9]+$|^[+-]?[0-9]+,([0-9]{1,2}|[0-9]{4,})$"


@dataclass(frozen=True)
class Sample:
    """The first rows of a table (none where it has none).

    Attributes:
        columns: those that can be read.
        nested: the others, whose cells hold objects.
    """

    address: str
    columns: list[str]
    table: pa.Table
    types: dict[str, str]
    first_refused: tuple[int, str] | None = None
    n_refused: int = 0
    nested: tuple[str, ...] = ()

    def texts(self, column: str, n: int = 3) -> list[str]:
        """The first different cells as texts, for people."""
        found = pc.unique(texts(self.table[column].slice(0, 1000)).drop_null()).to_pylist()
        found = [re.sub(r"(\d\d:\d\d)\.0+$", r"\1", text) for text in found[:n]]
        return [text if len(text) <= 24 else f"{text[:21]}..." for text in found]

    def cells(self, column: str) -> list[str]:
        """The different cells as texts."""
        return pc.unique(texts(self.table[column]).drop_null()).to_pylist()

    def share_of_times(self, column: str, form: str | None = None) -> float:
        """Share of the cells that are times since 1990."""
        n = self.table.num_rows
        return 1 - len(times(self.table[column], form)[1]) / n if n else 0.0

    def formats(self, column: str, share: float = _MOST) -> list[str]:
        """The forms of dates that fit nearly all cells, or this share of them, beside ISO 8601 and numbers."""
        if not pa.types.is_string(self.table[column].type):
            return []
        part = self.table.slice(0, 2000)
        return [
            form for form in FORMATS if part.num_rows and 1 - len(times(part[column], form)[1]) / part.num_rows > share
        ]

    def first_misfit(self, column: str, form: str) -> str:
        """Why the first cell is none of this form."""
        return next(iter(times(self.table[column].slice(0, 2000), form)[1].values()))

    def share_of_numbers(self, column: str) -> float:
        """Share of the cells that hold something and are numbers; 0 where all are empty."""
        found, faults = numbers(self.table[column], self.decimal(column))
        known, bad = int(np.isfinite(found).sum()), len(faults)
        return known / (known + bad) if known else 0.0

    def holds_texts(self, column: str) -> bool:
        kind = self.table[column].type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        return pa.types.is_string(kind) or pa.types.is_large_string(kind)

    def decimal(self, column: str) -> str | None:
        """A comma where nearly all cells are numbers if it is read as the decimal sign, and some are only then.

        A cell such as 1,234 may be either, so a column that has no other cells with a comma is not clear.
        """
        if not self.holds_texts(column):
            return None
        values = texts(self.table[column]).drop_null()
        if not pc.any(pc.match_substring(values, ",")).as_py():
            return None
        fits = pc.sum(pc.match_substring_regex(values, COMMA_NUMBER)).as_py()
        clear = pc.any(pc.match_substring_regex(values, _CLEAR_COMMA)).as_py()
        return "," if clear and fits >= _MOST * len(values) else None

    def numbers(self, column: str) -> np.ndarray:
        """The finite numbers of the column."""
        found = numbers(self.table[column], self.decimal(column))[0]
        return found[np.isfinite(found)]

    def span(self, column: str) -> tuple[float, float]:
        """The smallest and the largest number."""
        found = self.numbers(column)
        return float(found.min()), float(found.max())

    def share_of_ids(self, column: str) -> float:
        n = self.table.num_rows
        return 1 - len(ids(self.table[column])[1]) / n if n else 0.0

    def distinct(self, column: str) -> int:
        return len(self.cells(column))


def take_sample(source: SourceTable) -> Sample:
    """The first rows. Reads the first batches of the source, which cannot be read again afterwards."""
    parts: list[pa.Table] = []
    rows = 0
    first_refused: tuple[int, str] | None = None
    n_refused = 0
    for batch in source.batches:
        parts.append(batch.table.slice(0, ROWS - rows))
        rows += parts[-1].num_rows
        first_refused = first_refused or next(iter(batch.refused), None)
        n_refused += len(batch.refused)
        if rows >= ROWS:
            break
    nested = tuple(name for name in source.columns if any(is_nested(part.schema.field(name).type) for part in parts))
    columns = [name for name in source.columns if name not in nested]
    parts = [part.select(columns) for part in parts]
    table = pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({c: [] for c in columns})
    return Sample(source.address, columns, table, source.types, first_refused, n_refused, nested)
