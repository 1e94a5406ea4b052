"""Erasing a user from everywhere, and handing a user all that is kept.

Erasure removes the user's keys, stream entries, exposures and rows of the offline log, and leaves a tombstone: the
keyed digest of the id (`features.users.erasure_key`) with the time. Whoever uses what was made before that time (a data
set, a trained vector, a backup) asks the tombstones. Counters and popularity of items stay: they are sums over users
that name nobody. The server's append-only file forgets the user with its next rewrite, which an erasure asks for.
"""

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from data.event_log import EventLog
from data.log_tables import KINDS, Kind, entry_row
from features.experiments.counts import unpack_user
from features.recording.event import user_prefix
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.errors import StoreError
from features.redis.keys import Keys
from features.redis.lock import maintenance
from features.redis.scripts import Script, run_script
from features.users.erasure_key import fingerprint, key_path, make_key, read_key
from features.users.history import decode_history, decode_seen
from features.users.user_attributes import read_user_attributes

# The constants are those of the text that it shares; deleting asks for none of them.
_DELETE = Script("users/delete_user", shared="recording/experiment")
KEYED = "k:"
"""In front of the digests that are keyed."""
_SCAN = Script("users/scan_user_entries", PAGE=500)


@dataclass(frozen=True)
class Erasure:
    """What an erasure removed, as counts, and when."""

    keys: int
    stream_entries: int
    log_rows: int
    time_ms: int


async def erase_user(store: OnlineStore, log: EventLog, user_id: str, wait_s: float = 30.0) -> Erasure:
    """Erase a user; complete when it returns. Safe to repeat after any failure; an unknown user gives zeros.

    Walks one partition's streams, not the store, and rewrites those parts of the log that name the user.

    Args:
        wait_s: how long to wait for a running compaction, rebuild or backup.

    Raises:
        StoreBusy: that took longer; nothing was removed.
        StoreError: the store does not answer; repeat. Or the key beside the log is not that of the tombstones.
    """
    await store.prepare()
    secret = await asyncio.to_thread(make_key, log.log_dir)
    await store.client.run("HSETNX", store.keys.meta, "erasure_key", fingerprint(secret))
    await _check_key(store.client, store.keys, secret)
    client, keys = store.client, store.keys
    partition = keys.partition_of(user_id)
    async with maintenance(client, keys, "erasure", wait_s) as lock:
        streams = {"events": keys.events(partition), "exposures": keys.exposures(partition)}
        user_keys = [
            keys.experiment_sums(partition),
            keys.users(partition),
            keys.user_experiments(user_id),
            keys.user(user_id),
            keys.history(user_id),
            keys.older_seen(user_id),
            keys.ledger(user_id),
            keys.last_exposure(user_id),
            keys.user_attributes(user_id),
        ]
        removed, time_ms, *ends = await run_script(client, _DELETE, [*streams.values(), *user_keys], [user_id])
        entries = 0
        for stream, end in zip(streams.values(), ends, strict=True):
            entries += len(await _scan(client, stream, user_id, "delete", end.decode()))
        await client.run("HSET", keys.erased, keyed_digest(user_id, secret), time_ms)
        await client.run("HINCRBY", keys.versions, "erasures", 1)
        await lock.check()
        rows = await asyncio.to_thread(log.erase_user, partition, user_id)
    await _forget_commands(store, user_id)
    return Erasure(removed, entries, rows, time_ms)


async def export_user(store: OnlineStore, log: EventLog, user_id: str) -> dict[str, Any]:
    """All that the platform holds of a user, as JSON-ready values: attributes, features, events, exposures, and what
    experiments have counted."""
    (features,) = await store.read_users([user_id])
    keys, types = store.keys, store.event_types
    partition = keys.partition_of(user_id)
    history = decode_history(features.history)
    at_ms = features.last_ms or 0
    rows: dict[Kind, list[dict[str, Any]]] = {}
    for kind in KINDS:
        stream = keys.events(partition) if kind == "events" else keys.exposures(partition)
        # The stream first: what a compaction moves in between is then found in both, instead of in neither
        entries = await _scan(store.client, stream, user_id, "read", "+")
        found = await asyncio.to_thread(log.user_rows, kind, partition, user_id)
        known = {row["stream_id"] for row in found}
        found += [entry_row(kind, entry, partition) for entry in entries if entry[0] not in known]
        rows[kind] = [_readable(row) for row in found]
    attributes = await read_user_attributes(store.client, keys, user_id)
    counted: dict[bytes, bytes] = await store.client.run("HGETALL", keys.user_experiments(user_id))
    return {
        "user_id": user_id,
        "exported_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "profile": {
            "first_ms": features.first_ms,
            "last_ms": features.last_ms,
            "processed_ms": features.processed_ms,
            "events_by_type": features.counters(types),
            "activity": features.activity(at_ms),
            "affinities": features.affinities(at_ms),
        },
        "attributes": attributes or {},
        "history": [
            {
                "item_id": item.decode(),
                "time_ms": int(time_ms),
                "event_type": types.names.get(int(code), f"code {code}"),
                "value": None if value != value else float(value),
            }
            for item, time_ms, value, code in zip(
                history.item_ids, history.times_ms, history.values, history.codes, strict=True
            )
        ],
        "older_seen": [item.decode() for item in decode_seen(features.older_seen)],
        "events": rows["events"],
        "exposures": rows["exposures"],
        **unpack_user(counted),
    }


def keyed_digest(user_id: str, secret: bytes) -> str:
    """What stands for an erased user's id in the tombstones."""
    return KEYED + blake2b(user_id.encode(), digest_size=32, key=secret).hexdigest()


def plain_digest(user_id: str) -> str:
    """What stood for it in tombstones of earlier versions. Ids are few and often numbers, so it can be guessed."""
    return hashlib.sha256(user_id.encode()).hexdigest()


class Erasures:
    """The tombstones. `covers` says whether something that names a user must be ignored.

    Args:
        times_ms: digest -> time of the erasure.
        secret: the key of the keyed digests; only needed where there are some.
    """

    def __init__(self, times_ms: dict[str, int], secret: bytes = b"") -> None:
        self._times_ms = times_ms
        self._secret = secret
        self._any_keyed = any(digest.startswith(KEYED) for digest in times_ms)
        self._any_plain = any(not digest.startswith(KEYED) for digest in times_ms)

    def __len__(self) -> int:
        return len(self._times_ms)

    def covers(self, user_id: str, made_ms: int | None = None) -> bool:
        """Whether the user was erased (after `made_ms`, where the time at which the thing was made is known)."""
        digests = [keyed_digest(user_id, self._secret)] if self._any_keyed else []
        digests += [plain_digest(user_id)] if self._any_plain else []
        times_ms = [self._times_ms[digest] for digest in digests if digest in self._times_ms]
        return bool(times_ms) and (made_ms is None or made_ms <= max(times_ms))

    def covered(self, user_ids: Iterable[str], made_ms: int | None = None) -> set[str]:
        """Those of the users that `covers` names."""
        return {user_id for user_id in set(user_ids) if self.covers(user_id, made_ms)} if self._times_ms else set()


async def read_erasures(client: StoreClient, keys: Keys, log_dir: Path) -> Erasures:
    """All tombstones.

    Args:
        log_dir: where the key of their digests lies.

    Raises:
        StoreError: the store does not answer, or the key is missing or another one: nobody would be found erased.
    """
    found: dict[bytes, bytes] = await client.run("HGETALL", keys.erased)
    times_ms = {digest.decode(): int(time_ms) for digest, time_ms in found.items()}
    secret = await asyncio.to_thread(read_key, log_dir)
    if not any(digest.startswith(KEYED) for digest in times_ms):
        return Erasures(times_ms)
    if secret is None:
        raise StoreError(f"users were erased, and {key_path(log_dir)} is missing: bring it back from a backup")
    await _check_key(client, keys, secret)
    return Erasures(times_ms, secret)


async def _check_key(client: StoreClient, keys: Keys, secret: bytes) -> None:
    """Raise `StoreError` where the store knows that its tombstones have another key."""
    known = await client.run("HGET", keys.meta, "erasure_key")
    if known is not None and known.decode() != fingerprint(secret):
        raise StoreError("the erasure key beside the event log is not the one with which users were erased")


async def _scan(client: StoreClient, stream: str, user_id: str, mode: str, end: str) -> list[tuple[str, bytes]]:
    """A user's entries of a stream up to an id, page by page, so that no call holds the server up."""
    found: list[tuple[str, bytes]] = []
    start = "-"
    while start:
        next_start, flat = await run_script(client, _SCAN, [stream], [mode, user_prefix(user_id), start, end])
        found += [(entry_id.decode(), raw) for entry_id, raw in zip(flat[::2], flat[1::2], strict=True)]
        start = next_start.decode()
    return found


async def _forget_commands(store: OnlineStore, user_id: str) -> None:
    """Ask for a rewrite of the append-only file. A server that refuses does it in its own time."""
    try:
        await store.client.run_on(store.keys.user(user_id), "BGREWRITEAOF")
    except StoreError:
        return


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    context = row["context"]
    return {**row, "context": None if context is None else orjson.loads(context)}
