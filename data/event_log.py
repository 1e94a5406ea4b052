"""The offline event log: the Parquet files to which the stream of events is drained."""

from pathlib import Path

import pandas as pd
import pyarrow.dataset as pads

from data.dataset import DataError

COLUMNS = ("user_id", "item_id", "event_type", "value", "timestamp_ms", "event_id")


def read_event_log(log_dir: Path) -> pd.DataFrame:
    """All logged events, with the columns `COLUMNS`, by (timestamp_ms, event_id).

    The order does not depend on how the files were cut. An event id that occurs twice is one event, whatever a retry
    past the deduplication window did.

    Raises:
        DataError: a file cannot be read or lacks a column.
    """
    files = sorted((log_dir / "events").glob("part-*.parquet"))
    if not files:
        return pd.DataFrame({name: pd.Series(dtype="str") for name in COLUMNS}).astype(
            {"value": "float32", "timestamp_ms": "int64"}
        )
    try:
        frame = pads.dataset(files, format="parquet").to_table(columns=list(COLUMNS)).to_pandas()
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{log_dir / 'events'}: the event log cannot be read: {error}") from error
    frame = frame.sort_values(["timestamp_ms", "event_id"], kind="stable").drop_duplicates("event_id")
    return frame.reset_index(drop=True)
