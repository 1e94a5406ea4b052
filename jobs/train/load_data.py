"""Reads what a training learns from: the imported data set and the offline event log."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.event_types import load_event_types
from configs.settings import Settings
from data.dataset import processed_dir, read_meta
from data.event_log import EventLog, read_event_log
from features.users.erasure import Erasures
from models.training.training_data import TrainingData, training_data_of

_TEXTS = ["user_id", "item_id", "event_type"]
_BLOCK = 1_000_000


def load_training_data(settings: Settings, erasures: Erasures) -> TrainingData:
    """Read the data set and the log.

    Where the times of the data set say nothing of what came before what (the order of the rows of its file stands in,
    for example, and the file is sorted by user), all of it counts as of one moment, and its order is random: a window
    of time is then a random part of every user's events, and nobody's whole history, or no item's, falls into one of
    them (`models.training.training_data.in_random_order` says why one moment).

    Args:
        settings: they say where data set and log lie.
        erasures: users whose interactions in the data set are left out; the log has lost theirs already.

    Raises:
        DataError: no data, or too little to learn from: fewer than two users or two items.
    """
    directory = processed_dir(settings)
    meta = read_meta(directory)
    imported = pq.read_table(directory / "interactions.parquet", read_dictionary=_TEXTS)
    parts = EventLog(settings.log_dir).parts("events")
    log = read_event_log(settings.log_dir, parts)
    types = load_event_types(settings.data.events)
    invented = pc.fill_null(log["simulated"], False)
    if settings.training.simulated:
        invented = pc.and_(invented, False)
    log = log.filter(pc.invert(invented))
    known = pc.is_in(log["event_type"].cast(pa.string()), pa.array(list(types.by_name)))
    unknown = Counter(log.filter(pc.invert(known))["event_type"].to_pylist())
    log = log.filter(known)
    erased = erasures.covered(pc.unique(imported["user_id"].cast(pa.string())).to_pylist())
    if erased:
        named = pc.is_in(imported["user_id"].cast(pa.string()), pa.array(sorted(erased)))
        imported = imported.filter(pc.invert(named))
    digest = hashlib.sha256("\n".join([meta.fingerprint, *sorted(erased)]).encode())
    _digest(log, digest.update)
    if not meta.time_trusted:
        times = np.full(len(imported), pc.max(imported["timestamp_ms"]).as_py() or 0, np.int64)
        place = imported.column_names.index("timestamp_ms")
        imported = imported.set_column(place, imported.schema.field(place), pa.array(times))
    columns = [*imported.column_names, "received_ms"]
    together = pa.concat_tables([imported, log.select(columns)], promote_options="default") if len(log) else imported
    data = training_data_of(
        together.unify_dictionaries(),
        types,
        name=meta.name,
        id_types=(meta.user_id_type, meta.item_id_type),
        log_events=len(log),
        unknown_types=dict(unknown),
        simulated_left_out=pc.sum(invented).as_py() or 0,
        fingerprint=digest.hexdigest(),
    )
    streamed = [part for part in parts if not part.bulk]
    read = {part.partition: part.last for part in sorted(streamed, key=lambda part: part.last)}
    return replace(data, time_trusted=meta.time_trusted, read=read)


def _digest(log: pa.Table, update: Callable[[bytes], None]) -> None:
    """The content of the log's rows, however its dictionaries and parts were made."""
    if not len(log):
        return
    for name in _TEXTS:
        column = pa.chunked_array([log[name].combine_chunks()])
        for start in range(0, len(log), _BLOCK):  # slices of a fixed size, so that the chunks of the table do not count
            (chunk,) = column.slice(start, _BLOCK).chunks
            texts = chunk.dictionary.cast(pa.binary())
            sizes = pc.binary_length(texts).to_numpy()[chunk.indices.to_numpy()]
            update(sizes.astype("<i4").tobytes())
            update(b"".join(texts.take(chunk.indices).to_pylist()))
    for name, kind in (("value", "<f4"), ("timestamp_ms", "<i8")):
        update(pc.fill_null(log[name], float("nan") if kind == "<f4" else 0).to_numpy().astype(kind).tobytes())
