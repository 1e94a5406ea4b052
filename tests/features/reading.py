"""The store's answers in the form of `oracle`, and whole stores in a form that compares."""

import math
import struct
from typing import Any

from features.recording.online_store import WINDOWS, OnlineStore
from features.users.history import decode_history, decode_seen


async def user_features(store: OnlineStore, user_id: str) -> dict[str, Any]:
    (found,) = await store.read_users([user_id])
    history = decode_history(found.history)
    last_ms = found.last_ms or 0
    rows = zip(
        history.times_ms.tolist(), history.item_ids, history.codes.tolist(), history.values.tolist(), strict=True
    )
    older = decode_seen(found.older_seen)
    assert len(older) == len(set(older))
    return {
        "history": [
            (time_ms, item, code, -math.inf if value != value else value) for time_ms, item, code, value in rows
        ],
        "older_seen": {item.decode() for item in older},
        "counters": found.counters(store.event_types),
        "first_ms": found.first_ms,
        "last_ms": found.last_ms,
        "activity": list(found.activity(last_ms).values()),
        "affinities": found.affinities(last_ms),
    }


VOLATILE = (b"ver", b"at")
"""Fields about the store's work, not about the events."""


async def everything(store: OnlineStore) -> dict[str, Any]:
    """All features in a store, decoded, without what a rebuild may change; decayed sums rounded to 9 digits."""
    client, keys = store.client, store.keys
    found: dict[str, Any] = {}
    for kind in ("u", "i"):
        for key in [key async for key in client.scan(keys.pattern(kind))]:
            fields = await client.run("HGETALL", key)
            found[key.decode()] = {name: _plain(name, raw) for name, raw in fields.items() if name not in VOLATILE}
    for key in [key async for key in client.scan(keys.pattern("h"))]:
        found[key.decode()] = await client.run("GET", key)
    for key in [key async for key in client.scan(keys.pattern("s"))]:
        found[key.decode()] = sorted(decode_seen(await client.run("GET", key)))
    for partition in range(keys.partitions):
        found[keys.totals(partition)] = await client.run("HGETALL", keys.totals(partition))
        found[keys.users(partition)] = await client.run("ZRANGE", keys.users(partition), 0, -1)
        for window in WINDOWS:
            key = keys.trending(partition, window)
            flat = await client.run("ZRANGE", key, 0, -1, "WITHSCORES")
            found[key] = {item: round(float(score), 7) for item, score in zip(flat[::2], flat[1::2], strict=True)}
    return found


def _plain(name: bytes, raw: bytes) -> Any:
    if name in (b"act", b"pop") or name.startswith(b"c:"):
        return tuple(float(f"{number:.9g}") for number in struct.unpack(f"<{len(raw) // 8}d", raw))
    return raw
