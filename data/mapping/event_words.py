"""What the words of a table's columns, and its name, say of the type of its events."""

from typing import Any

import pyarrow as pa

from configs.event_types import EventTypes
from data.mapping.conversions import texts
from data.mapping.names import CONTEXT, FLAGS, RATINGS, SPENT, UNMISTAKABLE, WATCHED, fit, our_type
from data.mapping.sample import Sample

FEW_WORDS = 20
"""More different words are no types."""
_NEARLY_ALL = 0.95


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
    if "status" in column or "state" in column:  # the status of an order has words such as open and complete
        return False
    words = sample.texts(column, FEW_WORDS)
    names = [word.lower() if word.lower() in types.by_name else our_type(word) for word in words]
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


def constant_type(sample: Sample, taken: set[str], hint: str) -> str | None:
    """The one type of all rows, by a column that only one type has, or by the file's name."""
    free = [column for column in sample.columns if column not in taken and sample.share_of_numbers(column) > 0.9]
    for column in free:
        if fit(column, "value") >= 2 and any(word in column for word in RATINGS) and sample.span(column)[1] <= 100:
            return "rating"
    words = hint.lower().replace("-", "_").replace(".", "_").replace("/", "_").split("_")
    for word in reversed(words):
        if found := our_type(word) or our_type(word.removesuffix("s")):
            return found
    if any(word in column for column in sample.columns for word in SPENT):
        return "purchase"
    if any(word in column for column in free for word in WATCHED):
        return "watch"
    return None
