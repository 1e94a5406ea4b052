"""CSV, TSV and RecBole's atomic files: what separates the cells, the encoding, and the columns' names."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from data.dataset import DataError
from data.sources.batches import RowBatch, SourceTable
from data.sources.csv_blocks import CsvBlocks
from data.sources.csv_rows import NOT_UTF8, column_names, trimmed
from data.sources.file_kinds import MARKS, check_is_text

SEPARATORS = (",", "\t", ";", "|")
_VALUE = re.compile(r"[+-]?\d+([.,]\d+)?$|\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{9,}(\.\d+)?$|\d{4}-\d\d-\d\d")
_SNIFFED = 65_536


def open_csv(
    name: str,
    chunks: Iterator[bytes],
    separator: str | None = None,
    encoding: str | None = None,
    columns: Sequence[str] | None = None,
    quoting: bool = True,
) -> SourceTable:
    """A table of delimited text.

    Args:
        name: of the file, for messages.
        chunks: its bytes.
        separator: None to see it from the header.
        encoding: as Python names it; None for UTF-8, or what a byte order mark says.
        columns: names for a file without a header.
        quoting: whether `"` has a meaning.

    Raises:
        DataError: it is empty, no text, a web page, or its header cannot be used.
    """
    first = next(chunks, b"")
    check_is_text(name, first, encoding)
    text = _utf8(name, first, chunks, encoding)
    start = next(text, b"")
    if not start.strip():
        raise DataError(f"{name}: it is empty")
    separator = separator or _sniff(start)
    blocks = CsvBlocks(_joined(start, text), separator, quoting)
    if columns is not None:
        names = column_names(name, columns)
        cells = blocks.peek()
        if isinstance(cells, list) and not len(trimmed(cells, 0)) <= len(names) <= len(cells):
            raise DataError(
                f"{name}: read.columns names {len(names)} columns, and the first row has {len(cells)} values; name each"
            )
        return SourceTable(name, names, _remedied(blocks.batches(names)))
    found = blocks.first_row()
    if found is None:
        raise DataError(f"{name}: it is empty")
    line, header = found
    if isinstance(header, DataError):
        raise DataError(f"{name}: row {line}: {_with_remedy(str(header))}")
    _check_is_header(name, line, trimmed(header, 0))
    names = named(name, trimmed(header, 0))
    return SourceTable(name, names, _remedied(blocks.batches(names)))


def named(file: str, header: Sequence[str]) -> list[str]:
    """Columns by their names in small letters; one without a name, as of row numbers, gets its place for a name.

    Raises:
        DataError: two columns have one name.
    """
    return column_names(file, [cell if cell.strip() else f"column {place}" for place, cell in enumerate(header, 1)])


def _with_remedy(reason: str) -> str:
    """The reason why a row is refused, and what to do about its encoding."""
    return reason + "; for a file of Windows write read: {encoding: cp1252} into the map" * (reason == NOT_UTF8)


def _remedied(batches: Iterator[RowBatch]) -> Iterator[RowBatch]:
    for batch in batches:
        yield replace(batch, refused=[(row, _with_remedy(reason)) for row, reason in batch.refused])


def _check_is_header(name: str, line: int, cells: list[str]) -> None:
    """Whether the first row holds names. Raises `DataError` where half of it and more are numbers or times, or one is a
    moment, which is no name."""
    texts = [cell.strip() for cell in cells]
    if 2 * sum(bool(_VALUE.match(text)) for text in texts) < len(texts) and not any(map(_MOMENT.match, texts)):
        return
    shown = ", ".join(cell[:20] for cell in cells[:5])
    raise DataError(
        f"{name}: row {line}: it holds values ({shown}) and not the columns' names: for a file without a header name "
        f"all {len(cells)} in the map, as read: {{columns: [user_id, item_id, ...]}} of the table"
    )


def open_atomic(name: str, chunks: Iterator[bytes]) -> SourceTable:
    """RecBole's form: tab-separated, without quotes, each name in the header followed by `:type`."""
    table = open_csv(name, chunks, separator="\t", quoting=False)
    names, types = [], {}
    for column in table.columns:
        plain, _, kind = column.partition(":")
        names.append(plain)
        types[plain] = kind
    names = column_names(name, names)
    renamed = (replace(batch, table=batch.table.rename_columns(names)) for batch in table.batches)
    return SourceTable(name, names, renamed, types)


def _utf8(name: str, first: bytes, chunks: Iterator[bytes], encoding: str | None) -> Iterator[bytes]:
    """The text in UTF-8 without a mark; bytes that the encoding does not know stay as they are."""
    if encoding is None:
        encoding = next((known for mark, known in MARKS.items() if first.startswith(mark)), "utf-8")
    try:
        codec = codecs.lookup(encoding).name
    except LookupError:
        raise DataError(f"{name}: there is no encoding {encoding!r}; examples are utf-8, cp1252, utf-16") from None
    if codec in ("utf-8", "utf-8-sig"):
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(codec)("surrogateescape")
    try:
        for chunk in _joined(first, chunks):
            yield decoder.decode(chunk).encode("utf-8", "surrogateescape")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogateescape")
    except UnicodeError as error:
        raise DataError(f"{name}: it is not text in {encoding}: {error}") from error


def _joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _sniff(start: bytes) -> str:
    """The separator that cuts the header into most cells, and the next rows into as many."""
    lines = start[:_SNIFFED].decode("utf-8", "replace").splitlines()[:20]
    lines = lines[:-1] if len(start) >= _SNIFFED and len(lines) > 1 else lines

    def widths(separator: str) -> list[int]:
        try:
            return [len(row) for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=separator) if row]
        except csv.Error:
            return [line.count(separator) + 1 for line in lines]

    def merit(separator: str) -> tuple[int, int, int]:
        found = widths(separator) or [0]
        # Below a title the other rows tell what separates them, and what is wrong.
        return sum(width == found[0] for width in found) if found[0] > 1 else 0, found[0], max(found)

    return max(SEPARATORS, key=merit)
