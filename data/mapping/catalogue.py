"""A user's table of items or users in canonical form, by a map. A bad cell costs the cell, a bad id the row."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.dataset import ARROW_TYPES, ITEMS, USERS, schema_with
from data.fields.attributes import MAX_KEYWORD_BYTES, MAX_KEYWORDS, MAX_TEXT_CHARS, AttributeType, check_value
from data.fields.cells import FLAGS, vector_cell
from data.mapping.column_map import Attribute, Items, Users, Words
from data.mapping.conversions import OBJECT, Faults, ids, numbers, objects, texts, times
from data.mapping.refusals import Refusals
from data.sources.batches import RowBatch

MAX_CATEGORIES = 20


@dataclass
class CatalogueReader:
    """Turns batches into items or users, each id once: the first row of an id counts."""

    chosen: Items | Users
    source: str
    refusals: Refusals
    read: int = 0

    def __post_init__(self) -> None:
        self._id = self.chosen.item_id if isinstance(self.chosen, Items) else self.chosen.user_id
        self._seen: dict[str, int] = {}
        self._lengths: dict[str, int] = {}
        self.attributes: dict[str, AttributeType] = {name: a.type for name, a in self.chosen.attributes.items()}
        self.schema = schema_with(ITEMS if isinstance(self.chosen, Items) else USERS, self.attributes)

    def convert(self, batch: RowBatch) -> pa.Table:
        """The rows of a batch with the columns of `schema`."""
        table, file = batch.table, batch.file or self.source
        self.read += table.num_rows + len(batch.refused)
        for row, reason in batch.refused:
            self.refusals.add(file, row, None, reason)
        if not table.num_rows:
            return self.schema.empty_table()
        found, faults = ids(table[self._id])
        for place, text in enumerate(found.to_pylist()):
            if text is not None and place not in faults:
                row = int(batch.rows[place])
                if (first := self._seen.setdefault(text, row)) != row:
                    faults[place] = f"{text[:40]!r} appears twice, first in row {first}"
        for place, reason in sorted(faults.items()):
            self.refusals.add(file, int(batch.rows[place]), self._id, reason)
        keep = np.ones(table.num_rows, bool)
        keep[list(faults)] = False
        columns = {self.schema.names[0]: found}
        if isinstance(self.chosen, Items):
            columns |= self._item_fields(batch, self.chosen, found, keep, file)
        for name, attribute in self.chosen.attributes.items():
            columns[name] = self._attribute(batch, name, attribute, keep, file)
        return pa.table([columns[name] for name in self.schema.names], schema=_nullable(self.schema)).filter(
            pa.array(keep)
        )

    def _item_fields(
        self, batch: RowBatch, chosen: Items, found: pa.Array, keep: np.ndarray, file: str
    ) -> dict[str, pa.Array]:
        table, n = batch.table, batch.table.num_rows
        titles = found
        if chosen.title:
            parts = []
            for column in chosen.title:
                nested = objects(table[column])
                self._tell(batch, column, dict.fromkeys(map(int, np.flatnonzero(nested)), f"is {OBJECT}"), keep, file)
                parts.append(pc.if_else(pa.array(nested), "", pc.fill_null(texts(table[column]), "")))
            joined = pc.utf8_trim_whitespace(pc.binary_join_element_wise(*parts, " "))
            joined = pc.utf8_slice_codeunits(joined, 0, MAX_TEXT_CHARS)
            titles = pc.if_else(pc.equal(joined, ""), found, joined)
        years = pa.nulls(n, pa.int16())
        if chosen.year is not None:
            given, faults = numbers(table[chosen.year])
            odd = ~np.isnan(given) & ((given != np.rint(given)) | (np.abs(given) > 9999))
            faults |= dict.fromkeys(map(int, np.flatnonzero(odd)), "is no year")
            self._tell(batch, chosen.year, faults, keep, file)
            bad = np.isnan(given)
            bad[list(faults)] = True
            years = pa.array(np.where(bad, 0, given).astype(np.int16), mask=bad)
        added = pa.nulls(n, pa.int64())
        if chosen.added is not None and chosen.added.column is not None:
            added = self._times(batch, chosen.added.column, chosen.added.format, keep, file)
        return {"title": titles, "year": years, "categories": self._categories(batch, chosen.categories, keep, file),
                "added_ms": added}  # fmt: skip

    def _categories(self, batch: RowBatch, words: Words | None, keep: np.ndarray, file: str) -> pa.Array:
        n = batch.table.num_rows
        found: list[list[str]] = [[] for _ in range(n)]
        for column in words.columns if words is not None else ():
            lists, faults = _lists(batch.table[column], words.separator if words is not None else None)
            for place, mine in enumerate(lists):
                if mine:
                    found[place] += [word for word in mine if word not in found[place]]
                if len(found[place]) > MAX_CATEGORIES:
                    faults[place] = f"{len(found[place])} categories: the first {MAX_CATEGORIES} are kept"
                    found[place] = found[place][:MAX_CATEGORIES]
            self._tell(batch, column, faults, keep, file)
        return pa.array(found, pa.list_(pa.string()))

    def _attribute(self, batch: RowBatch, name: str, attribute: Attribute, keep: np.ndarray, file: str) -> pa.Array:
        column = attribute.column or name
        cells = batch.table[column]
        faults: Faults
        if attribute.type == "number":
            given, faults = numbers(cells, attribute.decimal)
            bad = np.isnan(given)
            bad[list(faults)] = True
            values = pa.array(np.where(bad, 0.0, given), mask=bad)
        elif attribute.type == "time":
            return self._times(batch, column, None, keep, file)
        elif attribute.type == "keywords":
            lists, faults = _lists(cells, attribute.separator)
            values = pa.array(lists, pa.list_(pa.string()))
        elif attribute.type == "vector":
            values, faults = self._vectors(name, cells, attribute.separator)
        elif attribute.type == "flag":
            known = texts(cells)
            words = pc.unique(known).to_pylist()
            right = {word: FLAGS.get(word.lower()) for word in words if word is not None}
            flags = [None if word is None else right[word] for word in known.to_pylist()]
            values = pa.array(flags, pa.bool_())
            odd = pc.and_(pc.is_valid(known), pc.is_null(values)).to_numpy(zero_copy_only=False)
            faults = {int(p): f"{known[int(p)].as_py()[:40]!r} is neither true nor false" for p in np.flatnonzero(odd)}
        else:
            values = texts(cells)
            long = (
                pc.greater(pc.binary_length(values), MAX_KEYWORD_BYTES)
                if attribute.type == "keyword"
                else pc.greater(pc.utf8_length(values), MAX_TEXT_CHARS)
            )
            long = pc.fill_null(long, False)
            limit = f"{MAX_KEYWORD_BYTES} bytes" if attribute.type == "keyword" else f"{MAX_TEXT_CHARS} characters"
            faults = dict.fromkeys(
                map(int, np.flatnonzero(long.to_numpy(zero_copy_only=False))), f"is longer than {limit}"
            )
            values = pc.if_else(long, pa.scalar(None, pa.string()), values)
        self._tell(batch, column, faults, keep, file)
        return values.cast(ARROW_TYPES[attribute.type])

    def _vectors(self, name: str, cells: pa.ChunkedArray, separator: str | None) -> tuple[pa.Array, Faults]:
        """Lists of numbers, all as long as the first."""
        listed = pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type)
        listed = listed or pa.types.is_fixed_size_list(cells.type)
        given = cells.to_pylist() if listed else texts(cells).to_pylist()
        found: list[object] = [None] * len(given)
        faults: Faults = {}
        for place, cell in enumerate(given):
            if cell is None:
                continue
            try:
                vector = check_value(vector_cell(cell, separator), "vector")
            except ValueError as error:
                faults[place] = str(error)
                continue
            length = self._lengths.setdefault(name, len(vector))  # type: ignore[arg-type]
            if len(vector) != length:  # type: ignore[arg-type]
                faults[place] = f"has {len(vector)} numbers, the first one {length}"  # type: ignore[arg-type]
            else:
                found[place] = vector
        return pa.array(found, pa.list_(pa.float32())), faults

    def _times(self, batch: RowBatch, column: str, form: str | None, keep: np.ndarray, file: str) -> pa.Array:
        cells = batch.table[column]
        found, faults = times(cells, form)
        faults = {place: reason for place, reason in faults.items() if reason != "there is no time"}
        self._tell(batch, column, faults, keep, file)
        return pa.array(found, mask=found == 0)

    def _tell(self, batch: RowBatch, column: str, faults: Faults, keep: np.ndarray, file: str) -> None:
        """Report the cells that rows do without; those of refused rows are told already."""
        for place, reason in sorted(faults.items()):
            if keep[place]:
                self.refusals.add(file, int(batch.rows[place]), column, f"{reason}; the row is kept without it", True)


def _lists(cells: pa.ChunkedArray, separator: str | None) -> tuple[list[list[str] | None], Faults]:
    """The words of each cell, each once; too long and too many ones are left out."""
    if pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type):
        given = [
            None if mine is None else [str(word) for word in mine if word is not None] for mine in cells.to_pylist()
        ]
    else:
        plain = texts(cells).to_pylist()
        given = [None if text is None else text.split(separator) if separator else [text] for text in plain]
    found: list[list[str] | None] = []
    faults: Faults = {}
    for place, mine in enumerate(given):
        words = None if mine is None else list(dict.fromkeys(word.strip() for word in mine if word.strip()))
        if words is not None:
            short = [word for word in words if len(word.encode()) <= MAX_KEYWORD_BYTES]
            if len(short) < len(words) or len(short) > MAX_KEYWORDS:
                faults[place] = f"holds more than {MAX_KEYWORDS} words, or one of more than {MAX_KEYWORD_BYTES} bytes"
            words = short[:MAX_KEYWORDS]
        found.append(words)
    return found, faults


def _nullable(schema: pa.Schema) -> pa.Schema:
    """The schema before rows without an id are taken out."""
    return pa.schema([field.with_nullable(True) for field in schema])


def with_missing(table: pa.Table, known: dict[str, None]) -> pa.Table:
    """The items or users, and after them the ids that only the events name, which have no more than their id."""
    name = table.column_names[0]
    ids_here = set(table[name].to_pylist())
    missing = [text for text in known if text not in ids_here]
    if not missing:
        return table
    columns: dict[str, pa.Array] = {name: pa.array(missing, pa.string())}
    if "title" in table.column_names:
        columns["title"] = columns[name]
        columns["categories"] = pa.array([[]] * len(missing), pa.list_(pa.string()))
    rest = pa.table(
        [columns.get(field.name, pa.nulls(len(missing), field.type)) for field in table.schema], schema=table.schema
    )
    return pa.concat_tables([table, rest])
