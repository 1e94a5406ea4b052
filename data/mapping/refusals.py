"""What was refused and why: counted, the first cases kept for people, and all of them in a file of JSON lines."""

import json
import re
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from data.dataset import DataError

MOST_LINES = 100_000
_EARLY_ROWS = 100_000
_SHOWN = 3


class Refusals:
    """The refused rows of one import.

    Args:
        path: of the report; the file is made with the first refusal. None keeps no file.

    Attributes:
        rows: how many rows were refused.
        by_reason: (column, reason without the cell's own text) -> how many.
        cells: how many cells of the catalogue were left out, whose rows were kept.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows = 0
        self.cells = 0
        self.by_reason: Counter[tuple[str, str]] = Counter()
        self.first: list[str] = []
        self._file: TextIO | None = None
        self._lines = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, file: str, row: int, column: str | None, reason: str, kept: bool = False) -> None:
        """One row, or with `kept` one cell that its row does without."""
        if kept:
            self.cells += 1
        else:
            self.rows += 1
        where = f"row {row}" + (f", column {column}" if column else "")
        if len(self.first) < _SHOWN:
            self.first.append(f"{file}: {where}: {reason}")
        self.by_reason[column or "", _kind(reason)] += 1
        if self.path is None or self._lines > MOST_LINES:
            return
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w", encoding="utf-8")
        self._lines += 1
        record = {"file": file, "row": row, "column": column, "reason": reason} | ({"kept": True} if kept else {})
        if self._lines > MOST_LINES:
            record = {"reason": f"further refusals are only counted, after {MOST_LINES:,}"}
        try:
            self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        except OSError as error:
            raise DataError(f"{self.path}: the report of refused rows cannot be written: {error}") from error

    def check(self, source: str, read: int, ended: bool = False) -> None:
        """Stop where more than half of the rows were refused. Raises `DataError` with the first reasons.

        Args:
            read: rows so far, the refused ones among them.
            ended: whether there are no more; before that, the first 100,000 decide nothing.
        """
        if self.rows * 2 <= read or (not ended and read < _EARLY_ROWS):
            return
        reasons = "\n  ".join(self.first)
        report = f"\nall are in {self.path}" if self._file is not None else ""
        raise DataError(
            f"{source}: {self.rows:,} of {read:,} rows were refused, more than half; nothing was imported. "
            f"The first are:\n  {reasons}{report}"
        )

    def summary(self) -> list[str]:
        """One line for each reason, the most frequent first."""
        return [
            f"{count:,} x {f'{column}: ' if column else ''}{reason}"
            for (column, reason), count in self.by_reason.most_common(10)
        ]


def _kind(reason: str) -> str:
    """The reason without what stands in the cell, so that equal reasons count together."""
    if reason.startswith(("'", '"')) and (end := reason.rfind(reason[0])) > 0:
        return f"a text{reason[end + 1 :]}" if len(reason) > end + 1 else reason
    if found := re.fullmatch(r"\d+ values, and the header names (\d+) columns", reason):
        return f"more values than the {found[1]} columns that the header names"
    reason = re.sub(r" would be (\d{4}-\d\d-\d\d|out of range) in ", " would be before 1990 or after 2261 in ", reason)
    return re.sub(r"^[+-]?\d\S*( \d\d:\d\S*)?(?= )", "a value", reason)
