"""Columns of the offline log, and stream entries as tables of them."""

from collections.abc import Sequence
from typing import Any, Literal

import orjson
import pyarrow as pa

Kind = Literal["events", "exposures"]
KINDS: tuple[Kind, ...] = ("events", "exposures")
Entry = tuple[str, bytes]
"""Stream id and canonical JSON, as the online store wrote them."""

SCHEMAS: dict[Kind, pa.Schema] = {
    "events": pa.schema(
        [
            pa.field("event_id", pa.string(), nullable=False),
            pa.field("user_id", pa.string(), nullable=False),
            pa.field("item_id", pa.string(), nullable=False),
            pa.field("event_type", pa.string(), nullable=False),
            pa.field("value", pa.float64()),
            pa.field("timestamp_ms", pa.int64(), nullable=False),
            pa.field("received_ms", pa.int64(), nullable=False),
            pa.field("recommendation_id", pa.string()),
            pa.field("context", pa.string()),  # JSON
            pa.field("categories", pa.list_(pa.string())),
            pa.field("simulated", pa.bool_()),
            pa.field("stream_id", pa.string(), nullable=False),
            pa.field("partition", pa.int16(), nullable=False),
        ]
    ),
    "exposures": pa.schema(
        [
            pa.field("recommendation_id", pa.string(), nullable=False),
            pa.field("user_id", pa.string(), nullable=False),
            pa.field("time_ms", pa.int64(), nullable=False),
            pa.field("model_version", pa.string()),
            pa.field("variant", pa.string()),
            pa.field("experiment", pa.string()),
            pa.field("item_ids", pa.list_(pa.string()), nullable=False),
            pa.field("propensities", pa.list_(pa.float64())),
            pa.field("scores", pa.list_(pa.float64())),
            pa.field("context", pa.string()),  # JSON
            pa.field("simulated", pa.bool_(), nullable=False),
            pa.field("forced", pa.bool_()),
            pa.field("before", pa.int64()),
            pa.field("stream_id", pa.string(), nullable=False),
            pa.field("partition", pa.int16(), nullable=False),
        ]
    ),
}
IDENTITY: dict[Kind, str] = {"events": "event_id", "exposures": "recommendation_id"}
"""The column that, with the stream id, tells two entries apart."""


def stream_id(text: str) -> tuple[int, int]:
    """`"1750000000000-3"` as numbers that compare as the ids do."""
    time_ms, _, sequence = text.partition("-")
    return int(time_ms), int(sequence)


def is_simulated(context: dict[str, Any] | None) -> bool:
    """Whether a request or event says of itself that it is simulated."""
    return context is not None and context.get("simulated") is True


def entry_row(kind: Kind, entry: Entry, partition: int) -> dict[str, Any]:
    """One stream entry as a row of its schema."""
    row: dict[str, Any] = orjson.loads(entry[1])
    context = row["context"]
    if kind == "events":
        row["simulated"] = is_simulated(context)
    row["context"] = None if context is None else orjson.dumps(context).decode()
    row["stream_id"], row["partition"] = entry[0], partition
    return row


def entries_table(kind: Kind, entries: Sequence[Entry], partition: int) -> pa.Table:
    """Stream entries as a table with the columns of `SCHEMAS[kind]`."""
    return pa.Table.from_pylist([entry_row(kind, entry, partition) for entry in entries], SCHEMAS[kind])
