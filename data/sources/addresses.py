"""Where a table lies: a file, a folder of files, an object store, a database. Only names and sizes are read here."""

import gzip
import hashlib
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.fs as pafs

from configs.addresses import without_credentials
from data.dataset import DataError

SQL_SCHEMES = ("postgresql", "postgres", "sqlite")
KINDS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".txt": "csv",
    ".dat": "csv",
    ".data": "csv",
    ".psv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".inter": "atomic",
    ".item": "atomic",
    ".user": "atomic",
}
CHUNK_BYTES = 1_000_000


@dataclass(frozen=True)
class SourceFile:
    """One file of a source."""

    name: str
    kind: str
    path: str
    filesystem: pafs.FileSystem
    compressed: bool

    def state(self) -> tuple[int, int]:
        """Size in bytes and time of the last change in ns, to see whether the file changes. Raises `DataError`."""
        info = self.filesystem.get_file_info(self.path)
        if info.type != pafs.FileType.File:
            raise DataError(f"{self.name}: there is no such file any more")
        return info.size, info.mtime_ns or 0

    def chunks(self) -> Iterator[bytes]:
        """The content, unpacked. Raises `DataError` where the file is damaged or cannot be read."""
        try:
            with self.filesystem.open_input_stream(self.path, compression=None) as raw:
                stream: Any = gzip.GzipFile(fileobj=_Readable(raw)) if self.compressed else raw
                while chunk := stream.read(CHUNK_BYTES):
                    yield chunk
        except EOFError as error:
            raise DataError(f"{self.name}: it ends before it is complete: copy it again") from error
        except (OSError, zlib.error) as error:
            if isinstance(error, gzip.BadGzipFile) and "Not a gzipped" in str(error):
                why = f"{self.name}: its name ends in .gz, and it is not compressed by gzip: give it another name"
                raise DataError(why) from error
            raise DataError(f"{self.name}: it cannot be read to its end: {error}") from error

    def stored_chunks(self) -> Iterator[bytes]:
        """The content as it is stored. Raises `DataError` where it cannot be read."""
        try:
            with self.filesystem.open_input_stream(self.path, compression=None) as raw:
                while chunk := raw.read(CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise DataError(f"{self.name}: it cannot be read to its end: {error}") from error

    def open(self) -> pa.NativeFile:
        """The file for reading at any place."""
        return self.filesystem.open_input_file(self.path)


class _Readable(io.RawIOBase):
    """pyarrow's stream as the standard library's gzip wants it."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._raw.read(size)


def is_sql(address: str) -> bool:
    return address.partition("://")[0] in SQL_SCHEMES


def shown(address: str) -> str:
    """The address for messages."""
    return without_credentials(address)


def find_files(address: str) -> list[SourceFile]:
    """The files of an address, by name; those of a folder are all of the kind that most of its files have.

    Raises:
        DataError: nothing is there, or nothing that can be read.
    """
    filesystem, root = _located(address)
    try:
        info = filesystem.get_file_info(root)
    except OSError as error:
        raise DataError(f"{shown(address)}: it cannot be reached: {error}") from error
    if info.type == pafs.FileType.File:
        found = _file(address if "://" in address else root, root, filesystem)
        if found is None:
            raise DataError(f"{shown(address)}: a file of this kind cannot be read: save it as CSV, or give {_known()}")
        return [found]
    if info.type != pafs.FileType.Directory:
        raise DataError(f"{shown(address)}: there is no such file or folder")
    files = _of_most(address, _readable(filesystem, root))
    if not files:
        raise DataError(f"{shown(address)}: there is no file in it that can be read; give {_known()}")
    return files


def passed_over(address: str) -> list[str]:
    """The names of the files in a folder that `find_files` leaves out, but for hidden ones."""
    if is_sql(address):
        return []
    filesystem, root = _located(address)
    if filesystem.get_file_info(root).type != pafs.FileType.Directory:
        return []
    taken = {file.path for file in find_files(address)}
    return [path[len(root) :].lstrip("/") for path in _names(filesystem, root) if path not in taken]


def _names(filesystem: pafs.FileSystem, root: str) -> list[str]:
    """The paths of the files in a folder, without hidden ones."""
    entries = filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
    paths = sorted(entry.path for entry in entries if entry.type == pafs.FileType.File)
    return [path for path in paths if not any(part.startswith((".", "_")) for part in path[len(root) :].split("/"))]


def _readable(filesystem: pafs.FileSystem, root: str) -> list[SourceFile]:
    found = (_file(path[len(root) :].lstrip("/"), path, filesystem) for path in _names(filesystem, root))
    return [file for file in found if file is not None]


def _of_most(address: str, files: list[SourceFile]) -> list[SourceFile]:
    """The files of the kind that most of them have; texts as README.txt count only where there is no other table."""
    tables = [file for file in files if not file.path.lower().removesuffix(".gz").endswith(".txt")] or files
    counts = Counter(file.kind for file in tables).most_common()
    if len(counts) > 1 and counts[0][1] == counts[1][1]:
        kinds = ", ".join(sorted(kind for kind, _ in counts))
        raise DataError(f"{shown(address)}: it holds as many files of several kinds ({kinds}): give one of them")
    return [file for file in tables if file.kind == counts[0][0]] if counts else []


def digest_of(address: str, extra: str = "") -> str:
    """What tells one content of an address from another, without reading it all: names, sizes and times of change."""
    digest = hashlib.sha256(f"{address}\n{extra}".encode())
    if not is_sql(address):
        for file in find_files(address):
            digest.update(f"\n{file.name} {file.state()}".encode())
    return digest.hexdigest()


def _located(address: str) -> tuple[pafs.FileSystem, str]:
    if "://" not in address:
        return pafs.LocalFileSystem(), str(Path(address).expanduser().absolute())
    try:
        filesystem, root = pafs.FileSystem.from_uri(address)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{shown(address)}: this address cannot be used: {error}") from error
    return filesystem, root


def _file(name: str, path: str, filesystem: pafs.FileSystem) -> SourceFile | None:
    lower = path.rsplit("/", 1)[-1].lower()
    compressed = lower.endswith(".gz")
    lower = lower.removesuffix(".gz")
    kind = KINDS.get(lower[lower.rfind(".") :]) if "." in lower else None
    return None if kind is None else SourceFile(shown(name), kind, path, filesystem, compressed)


def _known() -> str:
    return ".csv, .tsv, .jsonl, .parquet, .inter (text also as .gz), or a folder of such files"


def members(path: Path) -> set[str]:
    """The names of the files in a zip archive or a folder; empty where it is neither."""
    if path.is_dir():
        return {entry.name for entry in path.rglob("*") if entry.is_file()}
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return {member.rsplit("/", 1)[-1] for member in archive.namelist()}
    return set()


def atomic_parts(address: str) -> dict[str, str]:
    """The tables of a folder in RecBole's form, by the end of their names; empty where it is none."""
    if "://" in address or not Path(address).is_dir():
        return {}
    parts = {end: sorted(Path(address).glob(f"*.{end}")) for end in ("inter", "item", "user")}
    if len(parts["inter"]) != 1:
        return {}
    return {end: str(paths[0]) for end, paths in parts.items() if len(paths) == 1}
