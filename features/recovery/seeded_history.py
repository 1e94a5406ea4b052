"""What is seeded of each partition: the interactions of the data set, and history that was imported in bulk."""

import os
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.dataset import INTERACTIONS, DataError, Dataset
from data.event_log import EventLog
from data.log_tables import SCHEMAS, stream_id
from data.vocabulary import text_codes
from features.recording.online_store import OnlineStore
from features.recovery.seed import SeedEvents
from features.users.erasure import Erasures

_TEXTS = ("user_id", "item_id", "event_type")
_COLUMNS = (*_TEXTS, "value", "timestamp_ms", "stream_ms")
_SMALL = pa.ipc.IpcWriteOptions(compression="lz4")
_BETWEEN = "\x1f"  # no category holds it: control characters are refused


class SeededHistory:
    """Events that are seeded, partition by partition, so that memory holds the events and features of one at a time.

    The interactions of the data set are dealt to unnamed temporary files, one for each partition, batch by batch: their
    order is that of their file, and nobody knows where a partition's lie in it. At the end of this context they close.

    Args:
        store: its keys say which partition a user belongs to.
        dataset: its interactions, which were never in a stream; None for none.
        log: its parts that were written in bulk.
        erasures: users whose events do not count.

    Attributes:
        interactions: how many of the data set's count.

    Raises:
        DataError: the data set cannot be read, or there is no room for the files.
    """

    def __init__(self, store: OnlineStore, dataset: Dataset | None, log: EventLog, erasures: Erasures) -> None:
        self._log, self._erasures = log, erasures
        self._sets: dict[tuple[str, ...], int] = {(): 0}
        self._of_item: dict[str, int] = {}
        self._files: dict[int, IO[bytes]] = {}
        self.interactions = 0
        if dataset is None:
            return
        described = zip(dataset.items["item_id"], dataset.items["categories"], strict=True)
        self._of_item = {item_id: self._set(tuple(categories)) for item_id, categories in described}
        try:
            self._deal(store, dataset)
        except (OSError, pa.ArrowInvalid) as error:
            self.close()
            raise DataError(f"{dataset.meta.name}: its interactions cannot be read, or dealt out: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files of the partitions that were not asked for."""
        files, self._files = self._files, {}
        for file in files.values():
            file.close()

    def _deal(self, store: OnlineStore, dataset: Dataset) -> None:
        folder = _writable(dataset.directory)
        writers = {}
        for partition in range(store.keys.partitions):
            self._files[partition] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - until the partition is read
            writers[partition] = pa.ipc.new_stream(self._files[partition], INTERACTIONS, options=_SMALL)
        for batch in dataset.batches():
            table = pa.Table.from_batches([batch]).select(INTERACTIONS.names).cast(INTERACTIONS)
            user_ids, users = text_codes(table["user_id"])
            erased = self._erasures.covered(user_ids.tolist())
            of_user = [-1 if user_id in erased else store.keys.partition_of(user_id) for user_id in user_ids.tolist()]
            partitions = np.array(of_user, np.int64)[users]
            for partition in np.unique(partitions[partitions >= 0]).tolist():
                mine = table.take(pa.array(np.flatnonzero(partitions == partition)))
                writers[partition].write_table(mine)
                self.interactions += len(mine)
        for writer in writers.values():
            writer.close()

    def of_partition(self, partition: int) -> SeedEvents:
        """The events of a partition's users. Each partition can be asked for once."""
        mine = _empty()
        if partition in self._files:
            with self._files.pop(partition) as file:
                file.seek(0)
                dealt = _plain(pa.ipc.open_stream(file).read_all())
            mine = dealt.append_column("stream_ms", pa.array(np.zeros(len(dealt), np.int64)))
        item_ids, items = text_codes(mine["item_id"])
        of_item = np.array([self._of_item.get(item_id, 0) for item_id in item_ids.tolist()], np.int64)
        tables, sets = [mine], [of_item[items]]
        for part in self._parts(partition):
            joined = pc.fill_null(pc.binary_join(part["categories"], _BETWEEN), "")
            texts, codes = text_codes(joined)
            places = [self._set(tuple(text.split(_BETWEEN)) if text else ()) for text in texts.tolist()]
            sets.append(np.array(places, np.int64)[codes])
            tables.append(part.select(_COLUMNS))
        table = pa.concat_tables(tables, promote_options="permissive")
        return SeedEvents(table, list(self._sets), np.concatenate(sets))

    def rows_of(self, partition: int, user_ids: Collection[str]) -> Iterator[dict[str, Any]]:
        """Rows of the log's schema of what these users did, as far as it was imported in bulk."""
        if user_ids:
            wanted = pa.array(sorted(user_ids))
            for table in self._log.tables("events", partition, bulk=True):
                yield from table.filter(pc.is_in(table["user_id"], wanted)).to_pylist()

    def _parts(self, partition: int) -> Iterator[pa.Table]:
        for table in self._log.tables("events", partition, bulk=True):
            came_ms = stream_id(table["stream_id"][0].as_py())[0]  # one moment for the whole part
            user_ids = pc.unique(table["user_id"]).to_pylist()
            if erased := self._erasures.covered(user_ids, came_ms):
                table = table.filter(pc.invert(pc.is_in(table["user_id"], pa.array(sorted(erased)))))
            came = pa.array(np.full(len(table), came_ms, np.int64))
            yield _plain(table.select([*_COLUMNS[:-1], "categories"])).append_column("stream_ms", came)

    def _set(self, categories: tuple[str, ...]) -> int:
        return self._sets.setdefault(categories, len(self._sets))


def _writable(folder: Path | None) -> Path | None:
    """The data set's own folder, which lies on a disk with room for such data; None for the system's where that cannot
    be written to."""
    return folder if folder is not None and os.access(folder, os.W_OK) else None


def _plain(table: pa.Table) -> pa.Table:
    """Texts as dictionaries, which take 4 bytes a row, and values as the store keeps them."""
    for name in _TEXTS:
        place = table.column_names.index(name)
        table = table.set_column(place, name, table[name].cast(pa.string()).dictionary_encode())
    place = table.column_names.index("value")
    return table.set_column(place, "value", table["value"].cast(pa.float32(), safe=False))


def _empty() -> pa.Table:
    fields = [SCHEMAS["events"].field(name).remove_metadata() for name in _COLUMNS[:-1]]
    return _plain(pa.schema([*fields]).empty_table()).append_column("stream_ms", pa.array([], pa.int64()))
