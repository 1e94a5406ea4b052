"""What users did with one item, day by day: counted from data set and log, for no store keeps a series of each item."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from data.dataset import DataError

DAY_MS = 86_400_000
_READ = pa.schema([("item_id", pa.string()), ("event_type", pa.string()), ("timestamp_ms", pa.int64())])


def daily_counts(files: Sequence[Path], item_id: str, first_day: int, last_day: int) -> dict[int, Counter[str]]:
    """Events by day and type.

    Reads batch by batch, and of each file only the groups of rows whose times may fit, so memory stays small.

    Args:
        files: Parquet files of interactions or of logged events.
        first_day, last_day: days since 1970 (UTC), both counted.

    Returns:
        day -> type -> events; days without events are missing.

    Raises:
        DataError: a file cannot be read.
    """
    found: dict[int, Counter[str]] = {}
    if not files:
        return found
    time = pads.field("timestamp_ms")
    inside = (time >= first_day * DAY_MS) & (time < (last_day + 1) * DAY_MS)
    try:
        rows = pads.dataset([str(path) for path in files], schema=_READ, format="parquet", partitioning=None)
        scanner = rows.scanner(
            columns=["event_type", "timestamp_ms"],
            filter=(pads.field("item_id") == item_id) & inside,
            use_threads=False,
            batch_readahead=1,
            fragment_readahead=1,
        )
        for batch in scanner.to_batches():
            days = pc.divide(batch["timestamp_ms"], DAY_MS)
            table = pa.table([days, batch["event_type"]], names=["day", "type"])
            for one in table.group_by(["day", "type"]).aggregate([([], "count_all")]).to_pylist():
                found.setdefault(one["day"], Counter())[one["type"]] += one["count_all"]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"the counts of item {item_id!r} by day cannot be read: {error}") from error
    return found
