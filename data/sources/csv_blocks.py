"""Text of a table, block by block: by pyarrow where a block reads the same there, by the strict reader elsewhere.

pyarrow reads `"i2"x` as i2x without a word and gives up at a row whose last values are left out. So a block goes to it
only when each quote opens a cell, closes one or is doubled in one, when all its bytes are UTF-8 and when every row has
as many cells as the header; what is left keeps the meaning of `data.sources.csv_rows`.
"""

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from data.dataset import DataError
from data.sources.batches import RowBatch
from data.sources.csv_rows import NOT_UTF8, Cells, fitted, strict_rows

BLOCK_BYTES = 4_000_000
LONGEST_LINE = 1_000_000
_STRICT_AT_LEAST = 200_000
_LONGEST_CELL = 131_072  # of the standard library's reader
_QUOTE, _NEWLINE, _RETURN = 34, 10, 13
_LINE_END = re.compile(rb"\r\n|\n|\r")


class CsvBlocks:
    """Rows of delimited text that comes as chunks of UTF-8 bytes.

    Args:
        chunks: the text, without a byte order mark.
        separator: one character.
        quoting: whether `"` has a meaning.
    """

    def __init__(self, chunks: Iterator[bytes], separator: str, quoting: bool = True) -> None:
        self._chunks, self._separator, self._quoting = chunks, separator, quoting
        self._data, self._ended, self._line = b"", False, 1

    def peek(self) -> Cells | None:
        """The cells of the first row, which stays where it is; None where there is none."""
        return next((cells for _, cells, _ in self._strict()), None)

    def first_row(self) -> tuple[int, Cells] | None:
        """The first row that is not empty, and its line; None where there is none."""
        for line, cells, consumed in self._strict():
            self._take(consumed[0], consumed[1])
            return line, cells
        return None

    def batches(self, names: list[str], wanted: list[str] | None = None) -> Iterator[RowBatch]:
        """The rows that follow.

        Args:
            names: the columns, in the order of the cells.
            wanted: those that are needed; None for all.
        """
        wanted = names if wanted is None else wanted
        while self._fill(BLOCK_BYTES):
            end = len(self._data) if self._ended else self._last_row_end()
            batch = self._fast(self._data[:end], names, wanted) if end else None
            if batch is not None:
                self._take(end, self._data.count(b"\n", 0, end))
            else:
                batch = self._slow(max(end, _STRICT_AT_LEAST), names, wanted)
            yield batch

    def _fill(self, size: int) -> bool:
        parts, found = [self._data], len(self._data)
        while found < size and not self._ended:
            chunk = next(self._chunks, None)
            if chunk is None:
                self._ended = True
            else:
                parts.append(chunk)
                found += len(chunk)
        self._data = b"".join(parts)
        return bool(self._data)

    def _take(self, n_bytes: int, n_lines: int) -> None:
        self._data = self._data[n_bytes:]
        self._line += n_lines

    def _last_row_end(self) -> int:
        """Bytes up to the last line end outside of quotes; 0 where there is none."""
        if not self._quoting or b'"' not in self._data:
            return self._data.rfind(b"\n") + 1
        text = np.frombuffer(self._data, np.uint8)
        ends = np.flatnonzero(text == _NEWLINE)
        outside = ends[np.searchsorted(np.flatnonzero(text == _QUOTE), ends) % 2 == 0]
        return int(outside[-1]) + 1 if len(outside) else 0

    def _fast(self, block: bytes, names: list[str], wanted: list[str]) -> RowBatch | None:
        """The block by pyarrow; None where that might mean something else than the strict reader."""
        if b"\0" in block or block.count(b"\r") != block.count(b"\r\n") or not _is_utf8(block):
            return None
        text = np.frombuffer(block, np.uint8)
        ends = all_ends = np.flatnonzero(text == _NEWLINE)
        quoted = self._quoting and b'"' in block
        if quoted:
            quotes = np.flatnonzero(text == _QUOTE)
            if not self._well_quoted(text, quotes):
                return None
            ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
        starts = np.concatenate([[0], ends + 1])
        stops = np.concatenate([ends, [len(text)]])
        stops = stops - ((stops > starts) & (text[np.maximum(stops - 1, 0)] == _RETURN))
        full = stops > starts
        starts, stops = starts[full], stops[full]
        if len(starts) and (stops - starts).max() > _LONGEST_CELL:
            return None
        lines = self._line + np.searchsorted(all_ends, starts)
        table = self._parsed(block, names, wanted, quoted)
        return RowBatch(table, lines) if table is not None and table.num_rows == len(starts) else None

    def _well_quoted(self, text: np.ndarray, quotes: np.ndarray) -> bool:
        """Whether each quote, by turns, opens a cell and closes one; a doubled quote closes and opens."""
        if len(quotes) % 2:
            return False
        opening, closing = quotes[0::2], quotes[1::2]
        sides = np.zeros(256, bool)
        sides[[ord(self._separator), _NEWLINE, _RETURN, _QUOTE]] = True
        before = sides[text[np.maximum(opening - 1, 0)]] | (opening == 0)
        after = sides[text[np.minimum(closing + 1, len(text) - 1)]] | (closing == len(text) - 1)
        return bool(before.all() and after.all())

    def _parsed(self, block: bytes, names: list[str], wanted: list[str], quoted: bool) -> pa.Table | None:
        for extra in ([], ["\0extra"]):  # a separator at the end of each row makes one more cell, which is empty
            columns = [*names, *extra]
            taken = [*wanted, *extra]
            try:
                table = pacsv.read_csv(
                    pa.BufferReader(block),
                    pacsv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=columns),
                    pacsv.ParseOptions(
                        delimiter=self._separator,
                        quote_char='"' if self._quoting else False,
                        newlines_in_values=quoted,
                    ),
                    pacsv.ConvertOptions(
                        check_utf8=False,
                        column_types=dict.fromkeys(columns, pa.string()),
                        strings_can_be_null=False,
                        include_columns=taken,
                    ),
                )
            except pa.ArrowInvalid:
                continue
            if extra and any(cell.strip() for cell in table[extra[0]].unique().to_pylist()):
                return None
            return table.select(wanted)
        return None

    def _slow(self, least: int, names: list[str], wanted: list[str]) -> RowBatch:
        """Rows by the strict reader, until this many bytes are read."""
        rows: list[list[str]] = []
        lines: list[int] = []
        refused: list[tuple[int, str]] = []
        done = (0, 0)
        for line, given, consumed in self._strict():
            cells = fitted(given, len(names))
            if isinstance(cells, DataError):
                refused.append((line, str(cells)))
            else:
                rows.append(cells)
                lines.append(line)
            done = consumed
            if consumed[0] >= least:
                break
        else:
            done = (len(self._data), 0)  # what is left is empty lines
        self._take(*done)
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
        table = pa.table({name: pa.array(columns[names.index(name)], pa.string()) for name in wanted})
        return RowBatch(table, np.array(lines, np.int64), refused)

    def _strict(self) -> Iterator[tuple[int, Cells, tuple[int, int]]]:
        """Line and cells of each row, and how many bytes and lines are read after it; nothing is taken away."""
        if not self._quoting:
            yield from self._unquoted()
            return
        sizes: list[int] = []
        n_bytes = n_lines = 0
        for line, cells, after in strict_rows(self._pull(sizes), self._separator, self._line):
            while self._line + n_lines < after:
                n_bytes += sizes[n_lines]
                n_lines += 1
            yield line, cells, (n_bytes, n_lines)

    def _unquoted(self) -> Iterator[tuple[int, Cells, tuple[int, int]]]:
        sizes: list[int] = []
        n_bytes = 0
        for number, text in enumerate(self._pull(sizes)):
            n_bytes += sizes[-1]
            line = text.rstrip("\r\n")
            if line:
                good = text.isascii() or _is_utf8(text.encode("utf-8", "surrogateescape"))
                cells: Cells = line.split(self._separator) if good else DataError(NOT_UTF8)
                yield self._line + number, cells, (n_bytes, number + 1)

    def _pull(self, sizes: list[int]) -> Iterator[str]:
        """Lines with their ends from the buffer, which keeps them; the size in bytes of each goes to `sizes`."""
        at = 0
        while True:
            found = _LINE_END.search(self._data, at, at + LONGEST_LINE)
            if found is None and len(self._data) - at >= LONGEST_LINE:
                self._cut_line(at + LONGEST_LINE - 3)
                continue
            at_end = found is not None and found.end() == len(self._data)  # the other half of \r\n may be to come
            if (found is None or at_end) and len(self._data) - at < LONGEST_LINE and not self._ended:
                self._fill(len(self._data) + BLOCK_BYTES)
                continue
            end = found.end() if found is not None else len(self._data)
            if end == at:
                return
            sizes.append(end - at)
            yield self._data[at:end].decode("utf-8", "surrogateescape")
            at = end

    def _cut_line(self, at: int) -> None:
        """Leave out of the buffer what the line holds from here on, and let it end in a cell that is too long: the end
        of such a line, taken for a line of its own, would be another row."""
        head, rest = self._data[: at - _LONGEST_CELL] + b"x" * _LONGEST_CELL + b"x", self._data[at + 1 :]
        while True:
            found = _LINE_END.search(rest)
            if found is not None and (found.end() < len(rest) or self._ended):
                self._data = head + rest[found.start() :]
                return
            if self._ended:
                self._data = head
                return
            self._data = rest[-1:]  # may be the first half of a line end
            self._fill(BLOCK_BYTES)
            rest = self._data


def _is_utf8(block: bytes) -> bool:
    if block.isascii():
        return True
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True
