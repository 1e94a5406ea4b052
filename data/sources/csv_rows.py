"""The rows of a CSV file, each checked against its header: none shifts, vanishes or takes others with it.

The reader of the standard library stops at a bad quote, byte or field for good, and gives no row number. Here such a
row is an error of its own, and reading goes on in the line after the one in which it began. A field may hold 131,072
characters, which is also how far a quote that nobody closes can reach.
"""

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.dataset import DataError

NOT_UTF8 = "it is not text in UTF-8"
Cells = list[str] | DataError
"""The cells of a row, one for each column of the header, or why it cannot be read."""


def read_csv(path: Path) -> tuple[list[str], Iterator[tuple[int, Cells]]]:
    """The columns' names in lower case, and the rows with the numbers of their lines; the header is line 1.

    Empty lines are no rows. Empty values beyond the header's columns are dropped, and missing ones are empty.

    Raises:
        DataError: there is no header, or two columns have one name.
    """
    rows = strict_rows(_lines(path))
    line, header, _ = next(rows, (1, DataError("it is empty"), 1))
    if isinstance(header, DataError):
        raise DataError(f"{path}: row {line}: {header}")
    names = column_names(path, trimmed(header, 0))
    return names, ((number, fitted(row, len(names))) for number, row, _ in rows)


def column_names(path: Path | str, given: Sequence[str]) -> list[str]:
    """Columns by their names in lower case. Raises `DataError` where one has no name, or two have the same."""
    names = [name.strip().lower() for name in given]
    for place, name in enumerate(names):
        if not name:
            raise DataError(f"{path}: row 1: column {place + 1} has no name; leave out a column of row numbers")
        if name in names[:place]:
            both = given[names.index(name)], given[place]
            raise DataError(f"{path}: row 1: two columns are called {name!r} ({both[0]!r}, {both[1]!r})")
    return names


def fitted(row: Cells, width: int) -> Cells:
    """The row with as many cells as the header has; short ones get empty cells."""
    if isinstance(row, DataError) or len(row) == width:
        return row
    if len(row) < width:
        return [*row, *[""] * (width - len(row))]
    cut = trimmed(row, width)
    if len(cut) > width:
        return DataError(f"{len(cut)} values, and the header names {width} columns")
    return cut


def trimmed(row: list[str], width: int) -> list[str]:
    """The row without empty values at its end, down to a width."""
    end = len(row)
    while end > width and not row[end - 1].strip():
        end -= 1
    return row[:end]


def _lines(path: Path) -> Iterator[str]:
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        yield from file


def strict_rows(given: Iterator[str], separator: str = ",", line: int = 1) -> Iterator[tuple[int, Cells, int]]:
    """The rows of lines that keep their ends: number of its line, cells, and the number of the line after it.

    Args:
        given: text whose bytes beyond UTF-8 are half characters (`surrogateescape`).
        separator: between two cells.
        line: the number of the first line.
    """
    again: deque[str] = deque()  # lines that a broken row had taken with it
    taken: list[str] = []

    def lines() -> Iterator[str]:
        while True:
            text = again.popleft() if again else next(given, None)
            if text is None:
                return
            taken.append(text)
            yield text

    source = lines()
    reader = csv.reader(source, delimiter=separator, strict=True)
    while True:
        taken.clear()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if not taken:
                return
            again.extendleft(reversed(taken[1:]))
            yield line, DataError(_words(error)), line + 1
            line += 1
            if again:  # the end of the file may have ended the reader
                source = lines()
                reader = csv.reader(source, delimiter=separator, strict=True)
            continue
        after = line + len(taken)
        if row:
            bad = next((text for text in taken if not text.isascii() and not _is_utf8(text)), None)
            yield line, row if bad is None else DataError(NOT_UTF8), after
        line = after


def _words(error: csv.Error) -> str:
    if "field limit" in str(error):
        return (
            f"a cell holds more than {csv.field_size_limit():,} characters: shorten it, or end the quote it begins with"
        )
    return f"it is not valid CSV: {error}"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
