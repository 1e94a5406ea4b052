"""Which columns of a table of items or users hold what, guessed from names and contents of a sample."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data.dataset import DataError
from data.fields.attributes import MAX_ATTRIBUTES, MAX_KEYWORD_BYTES, RESERVED, AttributeType
from data.mapping.conversions import texts
from data.mapping.guessing.guess import Guess, Question, check_columns, named_columns
from data.mapping.names import FLAGS, attribute_name, fit
from data.mapping.sample import Sample

SEPARATORS = ("|", ";", ",")
_ATOMIC: dict[str, AttributeType] = {
    "token": "keyword",
    "token_seq": "keywords",
    "float": "number",
    "float_seq": "vector",
}


def guess_items(sample: Sample, given: dict[str, Any], event_column: str | None) -> Guess:
    """A guess for the part `items` of a map.

    Args:
        given: what the user's map says of it.
        event_column: the column of items in the table of events, whose name decides where it is here too.
    """
    check_columns(sample, given, "items")
    guess = Guess(dict(given))
    taken = _taken(given)
    _guess_id(sample, guess, taken, "item_id", event_column)
    if "title" not in given:
        found = _best(sample, "title", taken)
        if found is not None:
            guess.fields["title"] = found
            taken.add(found)
    if "year" not in given:
        found = _best(sample, "year", taken)
        if found is not None and sample.share_of_numbers(found) > 0.9 and 1800 < sample.span(found)[1] < 2200:
            guess.fields["year"] = found
            taken.add(found)
    if "categories" not in given:
        _guess_categories(sample, guess, taken)
    _guess_attributes(sample, guess, taken)
    guess.put_in_order(["item_id", "title", "categories", "year", "added", "attributes", "read"])
    return guess


def guess_users(sample: Sample, given: dict[str, Any], event_column: str | None) -> Guess:
    """A guess for the part `users` of a map; arguments as in `guess_items`."""
    check_columns(sample, given, "users")
    guess = Guess(dict(given))
    taken = _taken(given)
    _guess_id(sample, guess, taken, "user_id", event_column)
    _guess_attributes(sample, guess, taken)
    guess.put_in_order(["user_id", "attributes", "read"])
    return guess


def attribute_type(sample: Sample, column: str) -> dict[str, Any] | AttributeType | None:
    """The type that the contents of a column suggest, as a map says it; None where all cells are empty."""
    kind = sample.table[column].type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return "vector" if pa.types.is_floating(kind.value_type) else "keywords"
    if pa.types.is_boolean(kind):
        return "flag"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time"
    if found := _ATOMIC.get(sample.types.get(column, "")):
        return {"type": found, "separator": " "} if found in ("keywords", "vector") else found
    cells = texts(sample.table[column]).drop_null()
    if not len(cells):
        return None
    words = pc.unique(cells)
    if len(words) <= 2 and all(word.lower() in FLAGS for word in words.to_pylist()):
        return "flag"
    if sample.share_of_numbers(column) > 0.98:
        if column.endswith(("_id", "_code", "_no")) or fit(column, "user_id") > 1:
            return "keyword"
        sign = sample.decimal(column)
        return {"type": "number", "decimal": sign} if sign else "number"
    if sample.share_of_times(column) > 0.98:
        return "time"
    longest = pc.max(pc.binary_length(words)).as_py()
    for separator in SEPARATORS[:2]:
        if pc.sum(pc.match_substring(cells, separator)).as_py() > len(cells) * 0.2:
            return {"type": "keywords", "separator": separator}
    if longest <= MAX_KEYWORD_BYTES and len(words) <= max(20, len(cells) * 0.5):
        return "keyword"
    return "text"


def _taken(given: dict[str, Any]) -> set[str]:
    taken = {column for name, value in given.items() if name != "attributes" for column in named_columns(value)}
    for name, value in (given.get("attributes") or {}).items():
        taken.add(value["column"] if isinstance(value, dict) and value.get("column") else name)
    return taken


def _guess_id(sample: Sample, guess: Guess, taken: set[str], role: str, event_column: str | None) -> None:
    if role in guess.fields:
        return
    if event_column in sample.columns:
        guess.fields[role] = event_column
        taken.add(str(event_column))
        return
    merits = {column: fit(column, role) for column in sample.columns if column not in taken}
    best = max(merits.values(), default=0)
    found = [column for column, merit in merits.items() if merit == best and merit > 0]
    whole = [column for column in found if sample.distinct(column) == sample.table.num_rows]
    unique = [column for column in sample.columns if sample.distinct(column) == sample.table.num_rows]
    if len(found) != 1 and len(whole) == 1:
        found = whole
    if len(found) == 1:
        guess.fields[role] = found[0]
        taken.add(found[0])
        return
    guess.questions.append(Question(role, f"it is not clear which column is the {role}", found or unique))


def _best(sample: Sample, role: str, taken: set[str]) -> str | None:
    merits = {column: fit(column, role) for column in sample.columns if column not in taken}
    best = max(merits.values(), default=0)
    return next((column for column, merit in merits.items() if merit == best), None) if best else None


def _guess_categories(sample: Sample, guess: Guess, taken: set[str]) -> None:
    """The columns whose names say so; they stay attributes too where they hold one word a cell."""
    found = [column for column in sample.columns if column not in taken and fit(column, "categories") > 0][:3]
    separators = {column: _separator(sample, column) for column in found}
    listed = [column for column in found if separators[column] or pa.types.is_list(sample.table[column].type)]
    if listed:
        column = listed[0]
        separator = separators[column]
        guess.fields["categories"] = {"column": column, "separator": separator} if separator else column
        taken.add(column)
    elif found:
        guess.fields["categories"] = found if len(found) > 1 else found[0]


def _separator(sample: Sample, column: str) -> str | None:
    if sample.types.get(column) == "token_seq":
        return " "
    cells = texts(sample.table[column]).drop_null()
    counts = {separator: pc.sum(pc.match_substring(cells, separator)).as_py() or 0 for separator in SEPARATORS}
    best = max(counts, key=lambda separator: counts[separator])
    return best if counts[best] > len(cells) * (0.1 if best != "," else 0.3) else None


def _with_decimal(sample: Sample, name: str, kind: Any) -> Any:
    """The attribute of a map, with the decimal sign of its column where it is a number."""
    told = {"type": kind} if isinstance(kind, str) else kind
    if not isinstance(told, dict) or told.get("type") != "number" or told.get("decimal"):
        return kind
    column = told.get("column") or name
    sign = sample.decimal(column)
    known = sample.table.num_rows - texts(sample.table[column]).null_count
    if known and sample.share_of_numbers(column) < 0.5:
        raise DataError(
            f"attributes.{name}: {sample.address}: column {column} does not hold numbers but "
            f"{', '.join(sample.texts(column))}; say which decimal sign it has, as "
            f'{name}: {{type: number, column: {column}, decimal: ","}}, or give it another type'
        )
    return {**told, "decimal": sign} if sign else kind


def _guess_attributes(sample: Sample, guess: Guess, taken: set[str]) -> None:
    """Each further column is an attribute of the type that its cells suggest."""
    if "attributes" in guess.fields:
        told = guess.fields["attributes"] or {}
        guess.fields["attributes"] = {name: _with_decimal(sample, name, kind) for name, kind in told.items()}
        return
    found: dict[str, Any] = {}
    for column in sample.columns:
        if column in taken:
            continue
        kind = attribute_type(sample, column)
        if kind is None:
            guess.notes.append(f"{column} is empty in the first rows and is left out")
            continue
        name = attribute_name(column)
        while name in RESERVED or name in found:
            name = f"{name[:37]}_2"
        if name == column:
            found[name] = kind
        else:
            found[name] = {**({"type": kind} if isinstance(kind, str) else kind), "column": column}
    if len(found) > MAX_ATTRIBUTES:
        left = list(found)[MAX_ATTRIBUTES:]
        guess.notes.append(f"more than {MAX_ATTRIBUTES} attributes: {', '.join(left[:5])} and the like are left out")
        found = dict(list(found.items())[:MAX_ATTRIBUTES])
    if found:
        guess.fields["attributes"] = found
