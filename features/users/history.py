"""A user's packed history: one string per user, decoded without touching single records in Python.

Layout: little-endian u32 n, n records of 13 bytes (`RECORD`), then n item ids joined by a newline; both run from
the oldest to the newest, ordered by (time, item, code, value). `record_event.lua` writes it.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RECORD = np.dtype([("time_ms", "<f8"), ("value", "<f4"), ("code", "u1")])
PACK_RECORD = struct.Struct("<dfB").pack


@dataclass(frozen=True, slots=True)
class History:
    """A user's events, oldest to newest; all arrays are of length n."""

    item_ids: list[bytes]
    """UTF-8 text of the item ids."""
    times_ms: np.ndarray
    """(n,) float64, whole milliseconds."""
    values: np.ndarray
    """(n,) float32, NaN where the event carries none."""
    codes: np.ndarray
    """(n,) uint8, event type codes."""

    def __len__(self) -> int:
        return len(self.item_ids)


_NONE = np.zeros(0, RECORD)
EMPTY = History([], _NONE["time_ms"], _NONE["value"], _NONE["code"])


@dataclass(frozen=True, slots=True)
class Histories:
    """The events of several users, one user after another, each oldest to newest; all arrays of one length n."""

    sizes: np.ndarray
    """(users,) int64, how many events each has."""
    item_ids: bytes
    """UTF-8, joined by newlines."""
    times_ms: np.ndarray
    values: np.ndarray
    codes: np.ndarray
    """Times, values and codes have the types and units of `History`."""


def decode_histories(raw: Sequence[bytes | None]) -> Histories:
    """The packed histories of several users; None (an unknown one) is an empty one. The arrays are read-only."""
    sizes = [int.from_bytes(one[:4], "little") if one else 0 for one in raw]
    ends = [4 + RECORD.itemsize * n for n in sizes]
    filled = [(one, end) for one, end in zip(raw, ends, strict=True) if one and end > 4]
    records = np.frombuffer(b"".join([one[4:end] for one, end in filled]), RECORD)
    items = b"\n".join([one[end:] for one, end in filled])
    return Histories(np.array(sizes, np.int64), items, records["time_ms"], records["value"], records["code"])


def decode_history(raw: bytes | None) -> History:
    """The history in `raw`; None (an unknown user) is an empty one. The arrays are read-only."""
    if not raw:
        return EMPTY
    found = decode_histories([raw])
    return History(decode_seen(found.item_ids), found.times_ms, found.values, found.codes)


def encode_history(
    item_ids: Sequence[bytes], times_ms: Sequence[float], values: Sequence[float | None], codes: Sequence[int]
) -> bytes:
    """The packed form of events that are already in order."""
    records = np.zeros(len(item_ids), RECORD)
    records["time_ms"], records["code"] = times_ms, codes
    records["value"] = [np.nan if value is None else value for value in values]
    return struct.pack("<I", len(item_ids)) + records.tobytes() + b"\n".join(item_ids)


def decode_seen(raw: bytes | None) -> list[bytes]:
    """Item ids of the older-seen string, in the order in which the history let them go."""
    return raw.split(b"\n") if raw else []
