"""What the words of a table's columns, and its name, say of the type of its events."""

import re
from typing import Any

import pyarrow as pa

from configs.event_types import EventTypes
from data.fields.cells import FLAGS as FLAG_CELLS
from data.mapping.conversions import texts
from data.mapping.names import (
    CONTEXT,
    FLAGS,
    RATINGS,
    UNMISTAKABLE,
    WATCHED,
    fit,
    has_word,
    our_type,
    says_seconds,
    says_spent,
    words,
)
from data.mapping.sample import Sample

FEW_WORDS = 20
"""More different words are no types."""
_NEARLY_ALL = 0.95
_SEEN = ("watch", "watched")
_OF_FLAGS = frozenset(("is", "was", "has", "did", "been", "flag"))


def telling_columns(sample: Sample, taken: set[str]) -> list[str]:
    """Columns of few words in nearly all rows that may be types of events; only those called so, if there are any."""
    unused = [
        column
        for column in sample.columns
        if column not in taken and (sample.holds_texts(column) or pa.types.is_integer(sample.table[column].type))
    ]
    few = [column for column in unused if 2 <= sample.distinct(column) <= FEW_WORDS and _filled(sample, column)]
    called = [column for column in few if fit(column, "event_type") >= 2]
    return called or [
        column
        for column in few
        if sample.share_of_numbers(column) == 0
        and sample.holds_texts(column)
        and not {word.lower() for word in sample.texts(column, FEW_WORDS)} <= FLAGS
        and column not in CONTEXT
        and (
            fit(column, "event_type") or not any(fit(column, role) for role in ("user_id", "item_id", "time", "value"))
        )
        and not any(fit(column, role) for role in ("title", "categories", "year", "added"))
    ]


def are_types(sample: Sample, column: str, types: EventTypes) -> bool:
    """Whether the words of a column, whatever it is called, are types of events: at least two of them, more than are
    not, and among them one that nothing but an event is called. Which of them are not is asked later."""
    if has_word(column, ("status", "state")):  # the status of an order has words such as open and complete
        return False
    cells = sample.texts(column, FEW_WORDS)
    names = [word.lower() if word.lower() in types.by_name else our_type(word) for word in cells]
    ours = {name for name in names if name is not None}
    return len(ours) >= 2 and names.count(None) < len(ours) and not ours.isdisjoint(UNMISTAKABLE)


def _filled(sample: Sample, column: str) -> bool:
    n = sample.table.num_rows
    return n - texts(sample.table[column]).null_count >= _NEARLY_ALL * n


def open_words(sample: Sample, column: str) -> dict[str, Any]:
    return {
        "column": column,
        "map": {f"TYPE_{place}": [word] for place, word in enumerate(sample.texts(column, FEW_WORDS), 1)},
    }


def flags_of_types(sample: Sample, taken: set[str]) -> dict[str, dict[str, Any]]:
    """Columns called like an event, as clicked or is_liked, that say yes in some rows and no in others -> the type that
    a map gives the rows with a yes. Not every row is such an event."""
    found: dict[str, dict[str, Any]] = {}
    for column in sample.columns:
        name = our_type("_".join(word for word in words(column) if word not in _OF_FLAGS))
        if column in taken or name is None or sample.distinct(column) != 2:
            continue
        said = {word: FLAG_CELLS.get(word.lower()) for word in sample.cells(column)}
        yes, no = ([word for word, flag in said.items() if flag is one] for one in (True, False))
        if len(yes) == len(no) == 1:
            found[column] = {"column": column, "map": {name: yes}, "leave_out": no}
    return found


def constant_type(sample: Sample, taken: set[str], hint: str) -> str | None:
    """The one type of all rows, by a column that only one type has, or by the file's name."""
    free = [column for column in sample.columns if column not in taken and sample.share_of_numbers(column) > 0.9]
    for column in free:
        if fit(column, "value") >= 2 and has_word(column, RATINGS) and sample.span(column)[1] <= 100:
            return "rating"
    for word in reversed(re.split(r"[\W_]+", hint.lower())):
        if found := our_type(word) or our_type(word.removesuffix("s")):
            return found
    if any(says_spent(column) for column in sample.columns):
        return "purchase"
    # Minutes watched are of a watch too, whose value is then asked for; days of a duration are another thing.
    if any(has_word(column, WATCHED) and (says_seconds(column) or has_word(column, _SEEN)) for column in free):
        return "watch"
    return None
