"""What a file is that is no text although its name says so: told by its first bytes, with what to do."""

import codecs

from data.dataset import DataError

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks, and the encoding that each of them says."""
_MOST_ZEROS = 0.01
_KINDS = {
    b"pk\x03\x04": "a zip archive (as of Excel) and not text: unpack it, or save it as CSV",
    b"\xd0\xcf\x11\xe0": "a file of Excel and not text: save it as CSV",
    b"par1": "a Parquet file: give it a name that ends in .parquet",
    b"sqlite format 3": "a database of SQLite: give it as sqlite:///PATH#TABLE",
    b"%pdf": "a PDF and no table",
    b"\x89png": "a picture and no table",
    b"\xff\xd8\xff": "a picture and no table",
    b"bzh": "compressed by bzip2: unpack it, or compress it by gzip",
    b"\xfd7zxz": "compressed by xz: unpack it, or compress it by gzip",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it, or compress it by gzip",
    b"<?xml": "XML and not a table: save it as CSV or as JSON lines",
    b"{": "JSON and not a table: give it a name that ends in .jsonl, with one object a line",
    b"[{": "JSON and not a table: give it a name that ends in .jsonl, with one object a line and no list around them",
}
_PAGES = (b"<!doctype html", b"<html")


def check_is_text(name: str, start: bytes, encoding: str | None) -> None:
    """Raises `DataError` that says what the file is where it is no delimited text.

    Args:
        name: of the file, for messages.
        start: its first bytes.
        encoding: as the map names it.
    """
    if start.startswith(b"\x1f\x8b"):
        twice = name.lower().endswith(".gz")
        remedy = "twice: unpack it once" if twice else "by gzip: give it a name that ends in .gz, as orders.csv.gz"
        raise DataError(f"{name}: it is compressed {remedy}")
    head = start[:2000].lstrip(codecs.BOM_UTF8).lstrip().lower()
    if head.startswith(_PAGES) or (head.startswith(b"<?xml") and b"<html" in head):
        raise DataError(
            f"{name}: row 1: it is a web page (HTML) and not a table: what was to be downloaded may ask for a login; "
            "open the address in a browser and save the file itself"
        )
    for mark, words in _KINDS.items():
        if head.startswith(mark):
            raise DataError(f"{name}: it is {words}")
    zeros = start.count(b"\0")
    if encoding is None and zeros and not start.startswith(tuple(MARKS)):
        if zeros <= _MOST_ZEROS * len(start) and _is_text(start):
            return  # a few in a text are a matter of their rows
        line = start.count(b"\n", 0, start.index(b"\0")) + 1
        raise DataError(
            f"{name}: row {line}: it is not text: it holds zero bytes. For UTF-16 without a mark name the encoding in "
            "the map, as read: {encoding: utf-16-le} of the table"
        )


def _is_text(start: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)  # its last character may be cut
    except UnicodeDecodeError:
        return False
    return True
