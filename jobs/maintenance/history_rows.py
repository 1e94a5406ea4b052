"""Rows of a batch of a file: those old enough to go into the log in bulk, and those that have to be recorded."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa

from configs import clock
from data.dataset import DataError
from data.imports.event_batches import EventBatch
from data.imports.event_file import Row, rows_of
from data.log_tables import is_simulated
from data.vocabulary import text_codes
from features.items.catalogue import Item
from features.recording.event import Event
from features.recording.event_request import EventError, EventRules
from features.recording.event_table import SureRows, sure_rows
from features.recording.row_event import made_id, row_event
from jobs.maintenance.staged_history import STAGED


@dataclass(frozen=True)
class Sorted:
    """A batch, sorted out.

    Attributes:
        history: tables of `STAGED`.
        recent: events by row number.
        refused: a line of the report for each row that is no event.
    """

    history: list[pa.Table]
    recent: dict[int, Event]
    refused: list[dict[str, object]]


def sort_batch(batch: EventBatch, rules: EventRules, items: Mapping[str, Item], horizon_ms: int) -> Sorted:
    """Check every row of a batch.

    Args:
        items: the catalogue.
        horizon_ms: what happened before this moment is history.
    """
    numbers, typed = batch.numbers, batch.typed
    unread = [refusal(number, field, reason) for number, field, reason in batch.refused]
    if isinstance(batch.rows, list):
        by_row = _by_row(zip(numbers.tolist(), batch.rows, strict=True), typed, rules, items, horizon_ms)
        return Sorted(by_row.history, by_row.recent, unread + by_row.refused)
    found = sure_rows(batch.rows, rules, items, clock.now_ms())
    old = found.sure & (found.timestamp_ms < horizon_ms)
    rest = np.flatnonzero(~old)
    rows = rows_of(batch.rows.take(pa.array(rest))) if len(rest) else ()
    others = _by_row(zip(numbers[rest].tolist(), rows, strict=True), typed, rules, items, horizon_ms)
    history = _history(batch.rows, numbers, found, np.flatnonzero(old), items)
    return Sorted([history, *others.history], others.recent, unread + others.refused)


def _sort_rows(
    rows: Iterable[tuple[int, Row]], typed: bool, rules: EventRules, items: Mapping[str, Item]
) -> tuple[dict[int, Event], list[dict[str, object]]]:
    """The events in the rows by row number, and a line of the report for each row that is no event."""
    now_ms = clock.now_ms()
    events: dict[int, Event] = {}
    refused: list[dict[str, object]] = []
    for number, row in rows:
        if isinstance(row, DataError):
            refused.append(refusal(number, None, str(row)))
            continue
        try:
            events[number] = row_event(row, number, typed, rules, items, now_ms)
        except EventError as error:
            refused.append(refusal(number, error.field, str(error)))
    return events, refused


def refusal(number: int, field: str | None, reason: str) -> dict[str, object]:
    """A line of the report."""
    return {"row": number, "field": field, "reason": reason}


def _by_row(
    rows: Iterable[tuple[int, Row]], typed: bool, rules: EventRules, items: Mapping[str, Item], horizon_ms: int
) -> Sorted:
    events, refused = _sort_rows(rows, typed, rules, items)
    old = {number: event for number, event in events.items() if event.timestamp_ms < horizon_ms}
    table = pa.Table.from_pylist([_staged(event, number) for number, event in old.items()], STAGED)
    return Sorted([table], {number: event for number, event in events.items() if number not in old}, refused)


def _staged(event: Event, number: int) -> dict[str, object]:
    return {
        "event_id": event.event_id,
        "user_id": event.user_id,
        "item_id": event.item_id,
        "event_type": event.event_type,
        "value": event.value,
        "timestamp_ms": event.timestamp_ms,
        "recommendation_id": event.recommendation_id,
        "context": None if event.context is None else orjson.dumps(event.context).decode(),
        "categories": event.categories,
        "simulated": is_simulated(event.context),
        "row": number,
    }


def _history(
    table: pa.Table, numbers: np.ndarray, found: SureRows, chosen: np.ndarray, items: Mapping[str, Item]
) -> pa.Table:
    n, rows = len(chosen), pa.array(chosen)
    item_ids = found.item_id.take(rows)
    texts, codes = text_codes(pa.chunked_array([item_ids]))
    lists = [list(items[text].categories) if text in items else [] for text in texts.tolist()]
    columns = {
        "event_id": pa.array(_event_ids(table, numbers, found, chosen), pa.string()),
        "user_id": found.user_id.take(rows),
        "item_id": item_ids,
        "event_type": found.event_type.take(rows),
        "value": pa.array(found.value[chosen], pa.float64(), from_pandas=True),
        "timestamp_ms": pa.array(found.timestamp_ms[chosen]),
        "recommendation_id": pa.nulls(n, pa.string()),
        "context": pa.nulls(n, pa.string()),
        "categories": pa.array(lists, pa.list_(pa.string())).take(pa.array(codes)),
        "simulated": pa.array(np.zeros(n, bool)),
        "row": pa.array(numbers[chosen]),
    }
    return pa.table({name: columns[name] for name in STAGED.names}, schema=STAGED)


def _event_ids(table: pa.Table, numbers: np.ndarray, found: SureRows, chosen: np.ndarray) -> list[str]:
    given: list[str] = found.event_id.take(pa.array(chosen)).to_numpy(zero_copy_only=False).tolist()
    if all(given):
        return given
    part = table.take(pa.array(chosen))
    if all(pa.types.is_string(column.type) for column in part.columns):  # several times as quick as `rows_of`
        cells = zip(*(column.to_numpy().tolist() for column in part.columns), strict=True)
        rows = (dict(zip(part.column_names, row, strict=True)) for row in cells)
    else:
        rows = ({} if isinstance(row, DataError) else row for row in rows_of(part))
    pairs = zip(given, rows, numbers[chosen].tolist(), strict=True)
    return [event_id or made_id(row, number) for event_id, row, number in pairs]
