"""Items or users of a file, a folder, an object store or a database, row by row, each as over HTTP.

A column is a field of its own or a declared attribute. Where the needed columns have other names, the table is mapped:
by a map, by the one that the data set was imported with where it fits, or by a guess that is shown. Cells of tables are
read by the type of their column.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from data.dataset import DataError
from data.fields.attributes import Schema
from data.fields.cells import flag_cell, id_cell, is_absent, number_cell, text_cell, vector_cell, whole_cell
from data.imports.event_file import json_rows, rows_of
from data.mapping.column_map import MAP_FILE, Items, Users, check_table_map, read_map, with_small_columns
from data.mapping.guessing.guess import Guess
from data.mapping.guessing.guess_catalogue import guess_items, guess_users
from data.mapping.plan import UnclearMap, read_options
from data.mapping.sample import Sample, take_sample
from data.mapping.shown_map import open_questions, shown_part
from data.sources.addresses import find_files, is_sql, shown
from data.sources.batches import RowBatch
from data.sources.json_lines import lines_of
from data.sources.open_table import ReadOptions, open_file, open_table

Part = Literal["items", "users"]
FIELDS: dict[Part, tuple[str, ...]] = {
    "items": ("item_id", "title", "categories", "genres", "year", "hidden"),
    "users": ("user_id",),
}
NEEDED: dict[Part, tuple[str, ...]] = {"items": ("item_id", "title"), "users": ("user_id",)}
_CELLS = {
    "item_id": id_cell,
    "user_id": id_cell,
    "title": text_cell,
    "year": whole_cell,
    "hidden": flag_cell,
    "number": number_cell,
    "flag": flag_cell,
    "time": number_cell,
    "text": text_cell,
    "keyword": text_cell,
}
"""How a cell is read, by the name of its column or the type of its attribute."""
_LISTS = ("categories", "genres", "keywords")
Row = dict[str, Any] | DataError
"""The fields of an item or user, as HTTP takes them, or why the row cannot be read."""


class CatalogueFile:
    """A table of items or of users.

    Args:
        address: a file, a folder of files, an object store or a database.
        part: what it describes.
        schema: the attributes that may be columns.
        separator: what stands between the parts of a list within a cell of text.
        map_file: says what the columns hold.
        processed: where the data set lies, whose map is taken if it fits.

    Attributes:
        name: of the table, for messages.
        lines: how the columns are mapped, for people; empty where they are taken as they are.

    Raises:
        DataError: it cannot be read, a column is unknown, or it is not clear what the columns hold.
    """

    def __init__(
        self,
        address: str,
        part: Part,
        schema: Schema,
        separator: str = "|",
        map_file: Path | None = None,
        processed: Path | None = None,
    ) -> None:
        self._address, self._part, self._schema, self._separator = address, part, schema, separator
        self._files = [] if is_sql(address) else find_files(address)
        self.name = shown(address)
        self.map: Items | Users | None = None
        self.lines: list[str] = []
        names: list[str] = []
        if map_file is None:
            # Of a database rows are read, so that its connection is closed.
            first = take_sample(open_table(address)) if is_sql(address) else open_file(self._files[0], ReadOptions())
            names = first.columns
        if map_file is not None or not set(NEEDED[part]) <= set(names):
            self._choose_map(map_file, processed, set(names))
        elif not self._files:
            self._check_columns(self.name, names)

    def rows(self) -> Iterator[tuple[str, int, Row]]:
        """The rows: their file, where there are several, their number in it from 1, and what they say; the header of a
        CSV file has no number.

        Raises:
            DataError: a file cannot be read to its end, or a column is unknown.
        """
        if self.map is not None:
            yield from self._numbered("", open_table(self._address, self.map.read).batches)
        elif not self._files:
            yield from self._numbered("", open_table(self._address).batches)
        for file in self._files if self.map is None else ():
            name = file.name if len(self._files) > 1 else ""
            if file.kind == "json":
                for number, row in enumerate(json_rows(lines_of(file.chunks())), 1):
                    yield name, number, row if isinstance(row, DataError) else self._nested(row)
            else:
                table = open_file(file, ReadOptions())
                self._check_columns(file.name, table.columns)
                yield from self._numbered(name, table.batches)

    def _numbered(self, file: str, batches: Iterator[RowBatch]) -> Iterator[tuple[str, int, Row]]:
        first = 1
        for batch in batches:
            if batch.file != file:
                file, first = batch.file or file, 1 if batch.file else first
            places, unread = batch.places()
            found: list[tuple[int, Row]] = [
                (place, DataError(f"line {line}: {reason}")) for place, line, reason in unread
            ]
            found += [
                (place, row if isinstance(row, DataError) else self._read(row))
                for place, row in zip(places.tolist(), rows_of(batch.table), strict=True)
            ]
            yield from ((file, first + place, row) for place, row in sorted(found, key=lambda one: one[0]))
            first += len(found)

    def _check_columns(self, file: str, names: list[str]) -> None:
        fields = FIELDS[self._part]
        known = (*fields, *self._schema)
        if unknown := [name for name in names if name not in known]:
            attributes = ", ".join(self._schema) or "none"
            raise DataError(
                f"{file}: unknown column {unknown[0]!r}; known are {', '.join(fields)} and the attributes "
                f"that the settings or the data set declare: {attributes}"
            )
        for name in NEEDED[self._part]:
            if name not in names:
                raise DataError(f"{file}: the column {name} is missing")

    def _choose_map(self, map_file: Path | None, processed: Path | None, names: set[str]) -> None:
        given: dict[str, Any] = {}
        where = str(map_file) if map_file is not None else "the map"
        if map_file is not None:
            given = _part_of(map_file, self._part)
        elif processed is not None and (processed / MAP_FILE).is_file():
            given = _part_of(processed / MAP_FILE, self._part)
            fits = given and check_table_map(self._part, given, where).columns() <= names
            given = given if fits else {}
        sample = take_sample(open_table(self._address, read_options(given.get("read"), where, self._part)))
        if not sample.table.num_rows:
            raise DataError(f"{self.name}: it has no rows that can be read")
        guess = (guess_items if self._part == "items" else guess_users)(sample, given, None)
        self._declare(sample, guess, set(given.get("attributes") or {}))
        self.lines = shown_part(self._part, sample, guess)
        if questions := open_questions({self._part: guess}):
            raise UnclearMap("\n".join([*self.lines, questions]))
        self.map = check_table_map(self._part, guess.fields, where)
        if undeclared := sorted(set(self.map.attributes) - set(self._schema)):
            if told := sorted(set(undeclared) & set(given.get("attributes") or {})):
                raise DataError(
                    f"{where}: {self._part}.attributes.{told[0]}: neither the settings nor the data set declare it "
                    f"(RAYCOMMEND_DATA_{self._part[:-1].upper()}_ATTRIBUTES)"
                )
            self.lines.append(f"  note: not declared, and so left out: {', '.join(undeclared)}")

    def _declare(self, sample: Sample, guess: Guess, told: set[str]) -> None:
        """Guessed attributes are of the type that they are declared with, whatever their cells look like."""
        attributes = guess.fields.get("attributes") or {}
        for name, guessed in attributes.items():
            kind = self._schema.get(name)
            if kind is None or name in told:
                continue
            found = dict(guessed) if isinstance(guessed, dict) else {}
            decimal = sample.decimal(found.get("column", name)) if kind == "number" else None
            attributes[name] = found | {"type": kind, "decimal": decimal}

    def _read(self, cells: dict[str, Any]) -> Row:
        """The cells that hold something, as JSON would have them."""
        fields = {name: cell for name, cell in cells.items() if not is_absent(cell)}
        if self.map is not None:
            fields = self._of_map(fields, self.map)
        return self._nested({name: self._cell(name, cell) for name, cell in fields.items()})

    def _of_map(self, cells: dict[str, Any], chosen: Items | Users) -> dict[str, Any]:
        """The cells by the names of our fields and attributes."""
        found: dict[str, Any] = {}
        if isinstance(chosen, Users):
            found["user_id"] = cells.get(chosen.user_id)
        else:
            found["item_id"] = cells.get(chosen.item_id)
            title = " ".join(str(cells[column]).strip() for column in chosen.title if column in cells)
            found["title"] = title or found["item_id"]
            found["year"] = cells.get(chosen.year) if chosen.year is not None else None
            if chosen.categories is not None:
                held = [cells[column] for column in chosen.categories.columns if column in cells]
                words = [word for cell in held for word in _parts(cell, chosen.categories.separator)]
                found["categories"] = list(dict.fromkeys(words)) or None
        for name, attribute in chosen.attributes.items():
            cell = cells.get(attribute.column or name)
            if attribute.decimal == "," and isinstance(cell, str):
                cell = cell.replace(".", "").replace(",", ".")
            if name in self._schema and cell is not None:
                kind = self._schema[name]
                if kind == "vector":
                    cell = vector_cell(cell, attribute.separator)
                found[name] = _parts(cell, attribute.separator) if kind == "keywords" else cell
        return {name: value for name, value in found.items() if value is not None}

    def _cell(self, name: str, cell: Any) -> Any:
        kind = name if name in FIELDS[self._part] else self._schema[name]
        if kind in _LISTS:
            return _parts(cell, self._separator)
        if kind == "vector":
            return vector_cell(cell, self._separator)
        return _CELLS[kind](cell)

    def _nested(self, row: dict[str, Any]) -> Row:
        """The row with its attributes in an object of their own, as over HTTP; what is unknown stays, to be refused."""
        described = {name: value for name, value in row.items() if name in self._schema}
        fields = {name: value for name, value in row.items() if name not in described}
        given = fields.get("attributes", {})
        return {**fields, "attributes": {**given, **described} if isinstance(given, dict) else given}


def _part_of(map_file: Path, part: Part) -> dict[str, Any]:
    return with_small_columns(read_map(map_file).get(part) or {})


def _parts(cell: Any, separator: str | None) -> Any:
    """The words of a cell of text; a list stays one."""
    if not isinstance(cell, str):
        return cell
    return [part.strip() for part in (cell.split(separator) if separator else [cell]) if part.strip()]
