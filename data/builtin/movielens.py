"""MovieLens 100K, from its own archive or from the copy inside the package `recbole`; both give the same tables.

F. Maxwell Harper, Joseph A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
"""

import hashlib
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data.dataset import DataError, Tables
from data.fields.attributes import AttributeType
from data.sources.addresses import members

GENRES = (
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
USER_ATTRIBUTES: dict[str, AttributeType] = {
    "age": "number",
    "gender": "keyword",
    "occupation": "keyword",
    "zip_code": "keyword",
}
_ARTICLES = "The|A|An|La|Le|Les|L'|Il|Der|Die|Das|Det|O"
_MISPLACED = re.compile(rf"^(?P<rest>.+), (?P<article>{_ARTICLES})$")
_ALTERNATIVE = re.compile(r"^(?P<main>.+?) \((?P<other>.+)\)$")
_YEAR = re.compile(r" \((\d{4})\)( \(V\))?$")
_UNKNOWN = ("unknown", "unkonwn")  # the second is how recbole spells it
_ITEM_FIELDS = 5 + 1 + len(GENRES)


@dataclass(frozen=True)
class SourceFiles:
    """The three texts of one form of the data set, by role, each with its name for messages."""

    form: str
    texts: dict[str, tuple[str, bytes]]

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for _, raw in self.texts.values():
            digest.update(hashlib.sha256(raw).digest())
        return digest.hexdigest()


_FORMS = {
    "movielens": {"data": "u.data", "items": "u.item", "users": "u.user"},
    "recbole": {"data": "ml-100k.inter", "items": "ml-100k.item", "users": "ml-100k.user"},
}


def is_movielens(address: str) -> bool:
    """Whether a path holds MovieLens 100K in either form, whole or damaged."""
    names = members(Path(address)) if "://" not in address else set()
    return any(files["data"] in names for files in _FORMS.values())


def open_source(path: Path) -> SourceFiles:
    """The data set's files in a zip archive, a wheel or a folder; nothing is unpacked to disk.

    Raises:
        DataError: the path does not hold a complete MovieLens 100K in either form; names what is missing.
    """
    if path.is_dir():
        by_name = {entry.name: entry for entry in path.rglob("*") if entry.is_file()}
        return _pick(path, set(by_name), lambda name: by_name[name].read_bytes())
    if not path.is_file():
        raise DataError(f"{path}: there is no such file or folder")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.rsplit("/", 1)[-1]: member for member in archive.namelist()}
            return _pick(path, set(members), lambda name: archive.read(members[name]))
    except (zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path}: it is not a complete zip archive: {error}") from error


def _pick(path: Path, names: set[str], read: Callable[[str], bytes]) -> SourceFiles:
    for form, files in _FORMS.items():
        if files["data"] in names:
            if missing := sorted(set(files.values()) - names):
                raise DataError(f"{path}: {missing[0]} is missing")
            return SourceFiles(form, {role: (name, read(name)) for role, name in files.items()})
    expected = " or ".join(files["data"] for files in _FORMS.values())
    raise DataError(f"{path}: it holds no MovieLens 100K ({expected})")


def parse(files: SourceFiles) -> Tables:
    """The canonical tables of the source.

    `added_ms` is the time of an item's first rating: neither form tells when an item entered the catalogue.

    Raises:
        DataError: a row is malformed; names file, row (counted from 1) and column.
    """
    users = _users(files)
    items = _items(files)
    interactions = _interactions(files, set(users["user_id"]), set(items["item_id"]))
    first = interactions.groupby("item_id")["timestamp_ms"].min()
    items["added_ms"] = items["item_id"].map(first).astype("Int64")
    return Tables(interactions, items, users, user_attributes=USER_ATTRIBUTES)


def _interactions(files: SourceFiles, users: set[str], items: set[str]) -> pd.DataFrame:
    name = files.texts["data"][0]
    rows: list[tuple[str, str, float, int]] = []
    seen: set[tuple[str, str]] = set()
    columns = ("user_id", "item_id", "rating", "timestamp")
    for number, fields in _rows(files, "data", "\t", 4):
        user, item = _id(fields[0], name, number, columns[0]), _id(fields[1], name, number, columns[1])
        for text, known, column in ((user, users, columns[0]), (item, items, columns[1])):
            if text not in known:
                raise _error(name, number, column, f"{text} is not in the list of {column[:-3]}s")
        if (user, item) in seen:
            raise _error(name, number, columns[1], f"user {user} rated item {item} before")
        seen.add((user, item))
        rating, seconds = _whole(fields[2], name, number, columns[2]), _whole(fields[3], name, number, columns[3])
        if not 1 <= rating <= 5:
            raise _error(name, number, columns[2], f"{rating} is not between 1 and 5")
        rows.append((user, item, float(rating), seconds * 1000))
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "value", "timestamp_ms"])
    frame.insert(2, "event_type", "rating")
    return frame.astype({"value": "float32", "timestamp_ms": "int64"})


def _items(files: SourceFiles) -> pd.DataFrame:
    name = files.texts["items"][0]
    read = _movielens_item if files.form == "movielens" else _recbole_item
    separator, width = ("|", _ITEM_FIELDS) if files.form == "movielens" else ("\t", 4)
    rows = [read(name, number, fields) for number, fields in _rows(files, "items", separator, width)]
    _distinct([row[0] for row in rows], name, "item_id")
    frame = pd.DataFrame(rows, columns=["item_id", "title", "year", "categories"])
    return frame.astype({"year": "Int16"})


def _movielens_item(name: str, number: int, fields: list[str]) -> tuple[str, str, int | None, list[str]]:
    flags = fields[5:]
    if bad := [i for i, flag in enumerate(flags) if flag not in ("0", "1")]:
        raise _error(name, number, ("unknown", *GENRES)[bad[0]], f"{flags[bad[0]]!r} is neither 0 nor 1")
    year = _YEAR.search(fields[1])
    title = fields[1][: year.start()] if year else fields[1]
    genres = [genre for genre, flag in zip(GENRES, flags[1:], strict=True) if flag == "1"]
    return _id(fields[0], name, number, "item_id"), _title(title), int(year[1]) if year else None, genres


def _recbole_item(name: str, number: int, fields: list[str]) -> tuple[str, str, int | None, list[str]]:
    item, title, year, classes = fields
    if year == "V":
        # The source cut "Title (1995) (V)" at the last bracket; V means made for video.
        found = _YEAR.search(title)
        if found is None:
            raise _error(name, number, "release_year", "V, and no year in the title")
        title, year = title[: found.start()], found[1]
    genres = [genre for genre in classes.split(" ") if genre and genre not in _UNKNOWN]
    if unknown := sorted(set(genres) - set(GENRES)):
        raise _error(name, number, "class", f"{unknown[0]!r} is not a genre of MovieLens 100K")
    number_of_year = None if year in _UNKNOWN else _whole(year, name, number, "release_year")
    return _id(item, name, number, "item_id"), _title(title), number_of_year, genres


def _title(text: str) -> str:
    """As it is spoken: "Empire Strikes Back, The" is "The Empire Strikes Back"; likewise in brackets."""
    text = " ".join(text.split())
    if text in _UNKNOWN:
        return "unknown"
    if parts := _ALTERNATIVE.match(text):
        return f"{_article_first(parts['main'])} ({_article_first(parts['other'])})"
    return _article_first(text)


def _article_first(text: str) -> str:
    found = _MISPLACED.match(text)
    if found is None:
        return text
    gap = "" if found["article"].endswith("'") else " "
    return f"{found['article']}{gap}{found['rest']}"


def _users(files: SourceFiles) -> pd.DataFrame:
    name = files.texts["users"][0]
    separator = "|" if files.form == "movielens" else "\t"
    rows = []
    for number, fields in _rows(files, "users", separator, 5):
        age = _whole(fields[1], name, number, "age")
        rows.append((_id(fields[0], name, number, "user_id"), age, fields[2], fields[3], fields[4]))
    _distinct([row[0] for row in rows], name, "user_id")
    frame = pd.DataFrame(rows, columns=["user_id", "age", "gender", "occupation", "zip_code"])
    return frame.astype({"age": "int16"})


def _rows(files: SourceFiles, role: str, separator: str, width: int) -> Iterator[tuple[int, list[str]]]:
    name, raw = files.texts[role]
    encoding = "latin-1" if files.form == "movielens" else "utf-8"
    try:
        lines = raw.decode(encoding).split("\n")
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}, row {row}: byte {error.start} is not {encoding} text") from error
    start = 1 if files.form == "recbole" else 0
    for number, line in enumerate(lines[start:], start + 1):
        text = line.rstrip("\r")
        if not text:
            if any(later.strip() for later in lines[number:]):
                raise DataError(f"{name}, row {number}: the row is empty")
            return
        fields = text.split(separator)
        if len(fields) != width:
            raise DataError(f"{name}, row {number}, column {len(fields)}: {len(fields)} columns instead of {width}")
        yield number, fields


def _id(text: str, name: str, row: int, column: str) -> str:
    return str(_whole(text, name, row, column))


def _whole(text: str, name: str, row: int, column: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise _error(name, row, column, f"{text!r} is not a whole number")
    return int(text)


def _distinct(ids: list[str], name: str, column: str) -> None:
    if not ids:
        raise DataError(f"{name}: it is empty")
    if len(set(ids)) != len(ids):
        twice = next(text for i, text in enumerate(ids) if text in ids[:i])
        raise DataError(f"{name}, column {column}: {twice} appears twice")


def _error(name: str, row: int, column: str, what: str) -> DataError:
    return DataError(f"{name}, row {row}, column {column}: {what}")
