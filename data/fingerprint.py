"""What tells the content of one data set from another's."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def fingerprint(files: Iterable[tuple[Path, Sequence[str]]]) -> str:
    """sha256 over the content, column by column: the same whatever file format or source it came from.

    Args:
        files: Parquet files, each with the names of the columns whose numbers count by their type; the decimals of
            other columns count as whole numbers where all of them are.
    """
    digest = hashlib.sha256()
    for path, fixed in files:
        with pq.ParquetFile(path) as file:
            for column in file.schema_arrow.names:
                digest.update(f"\n\n{column}\n".encode())
                whole = column not in fixed and _is_whole(file, column)
                for place, batch in enumerate(file.iter_batches(columns=[column])):
                    digest.update(_content(batch.column(0), place > 0, whole))
    return digest.hexdigest()


def _is_whole(file: pq.ParquetFile, column: str) -> bool:
    """Whether a column of numbers has whole ones alone, which count the same as whole numbers and as decimals."""
    if not pa.types.is_floating(file.schema_arrow.field(column).type):
        return False
    batches = (batch.column(0) for batch in file.iter_batches(columns=[column]))
    return all(values.null_count == 0 and pc.all(pc.equal(values, pc.floor(values))).as_py() for values in batches)


def _content(values: pa.Array, goes_on: bool, whole: bool) -> bytes | memoryview:
    kind = values.type
    if whole or pa.types.is_integer(kind):
        filled = pc.fill_null(values.cast(pa.float64() if whole else pa.int64()), -1)
        return np.ascontiguousarray(filled.to_numpy(zero_copy_only=False).astype("<i8")).data
    if pa.types.is_floating(kind):
        return np.ascontiguousarray(pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)).data
    texts = (
        pc.binary_join(values.cast(pa.list_(pa.string())), "|") if pa.types.is_list(kind) else values.cast(pa.string())
    )
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(texts)], pc.fill_null(texts, "None")), "\n")[0]
    return (b"\n" if goes_on else b"") + joined.as_py().encode()
