"""What of the store is in no event stream and no log: catalogue, slots, experiments, erasures, decisions, counts.

For backups. Left out is what only the running processes mean: locks, replicas and what they report, limits of API keys,
telemetry of the last quarter of an hour, a watched promotion, and a retraining in progress, whose job runs in a Ray
that is not restored.
"""

import base64
import itertools
from typing import Any

from pydantic import BaseModel, ConfigDict

from configs.versions.formats import STORE
from features.items.catalogue import read_raw_items
from features.redis.connection import StoreClient
from features.redis.keys import PARTITION_KINDS, Keys

Stream = list[tuple[str, dict[str, str]]]
_HASHES = ("autopilot", "telemetry", "quality")
_STRINGS = ("last_run", "drift_reference", "access")


class Sketch(BaseModel):
    """A HyperLogLog."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base64: str
    expires_in_ms: int


class StoreSnapshot(BaseModel):
    """The control keys as they lie in the store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = STORE.current
    partitions: int
    versions: dict[str, int]
    catalogue: dict[str, str]
    slots: dict[str, str]
    decisions: Stream
    experiments: dict[str, str] = {}
    experiment_changes: Stream = []
    experiment_series: dict[str, Stream] = {}
    rollout: str | None = None
    erased: dict[str, int]
    timeline: Stream = []
    hashes: dict[str, dict[str, str]] = {}
    """Key by its name in `_HASHES` -> field -> value."""
    strings: dict[str, str] = {}
    """Key by its name in `_STRINGS` -> value, where there is one."""
    attribute_schema: dict[str, str] = {}
    user_attributes: dict[str, str] = {}
    """User id -> JSON."""
    shown: dict[str, Sketch] = {}
    """`<version>|<day>` -> the items shown."""


async def take_snapshot(client: StoreClient, keys: Keys) -> StoreSnapshot:
    """Read the control keys. The versions come first: what changes meanwhile is then newer than they say."""
    versions = _text(await client.run("HGETALL", keys.versions))
    catalogue: dict[str, str] = {}
    async for found in read_raw_items(client, keys):  # read at once, a million items would block the store for seconds
        catalogue |= _text(found)
    slots, erased = await client.read([("HGETALL", keys.slots), ("HGETALL", keys.erased)])
    experiments, rollout = await client.read([("HGETALL", keys.experiments), ("GET", keys.rollout)])
    names = _text(experiments)
    hashes = await client.read([("HGETALL", getattr(keys, name)) for name in _HASHES])
    strings = await client.read([("GET", getattr(keys, name)) for name in _STRINGS])
    kept = dict(zip(_HASHES, map(_text, hashes), strict=True))
    return StoreSnapshot(
        partitions=keys.partitions,
        versions={name: int(value) for name, value in versions.items()},
        catalogue=catalogue,
        slots=_text(slots),
        decisions=await _read_stream(client, keys.decisions),
        experiments=names,
        experiment_changes=await _read_stream(client, keys.experiment_changes),
        experiment_series={name: await _read_stream(client, keys.experiment_series(name)) for name in names},
        rollout=None if rollout is None else rollout.decode(),
        erased={name: int(value) for name, value in _text(erased).items()},
        timeline=await _read_stream(client, keys.timeline),
        hashes=kept,
        strings={name: raw.decode() for name, raw in zip(_STRINGS, strings, strict=True) if raw is not None},
        attribute_schema=_text(await client.run("HGETALL", keys.attribute_schema)),
        user_attributes=await _read_user_attributes(client, keys),
        shown=await _read_shown(client, keys, kept["quality"]),
    )


async def put_snapshot(client: StoreClient, keys: Keys, snapshot: StoreSnapshot) -> None:
    """Write the control keys over whatever is there. Safe to repeat.

    The versions go above both the old and the restored ones, and the changes that lead there are gone, so every
    replica reads all anew.
    """
    current = _text(await client.run("HGETALL", keys.versions))
    replaced = (
        *(keys.decisions, keys.catalogue, keys.catalogue_changes, keys.slots),
        *(keys.experiments, keys.experiment_changes, keys.rollout, keys.timeline),
        *(keys.experiment_series(name) for name in snapshot.experiment_series),
        *(getattr(keys, name) for name in (*_HASHES, *_STRINGS)),
        keys.attribute_schema,
    )
    commands: list[tuple[Any, ...]] = [("DEL", key) for key in replaced]
    commands += [("HSET", keys.catalogue, item_id, raw) for item_id, raw in snapshot.catalogue.items()]
    commands += [("HSET", keys.slots, name, raw) for name, raw in snapshot.slots.items()]
    commands += [("HSET", keys.erased, digest, time_ms) for digest, time_ms in snapshot.erased.items()]
    commands += [("HSET", keys.experiments, experiment, raw) for experiment, raw in snapshot.experiments.items()]
    if snapshot.rollout is not None:
        commands.append(("SET", keys.rollout, snapshot.rollout))
    streams = {
        keys.decisions: snapshot.decisions,
        keys.experiment_changes: snapshot.experiment_changes,
        keys.timeline: snapshot.timeline,
        **{keys.experiment_series(name): entries for name, entries in snapshot.experiment_series.items()},
    }
    commands += [
        ("XADD", stream, entry_id, *itertools.chain(*fields.items()))
        for stream, entries in streams.items()
        for entry_id, fields in entries
    ]
    commands += [
        ("HSET", getattr(keys, name), *itertools.chain(*fields.items()))
        for name, fields in snapshot.hashes.items()
        if fields
    ]
    commands += [("SET", getattr(keys, name), text) for name, text in snapshot.strings.items()]
    commands += [
        ("SET", keys.shown_items(*pair.split("|")), base64.b64decode(sketch.base64), "PX", sketch.expires_in_ms)
        for pair, sketch in snapshot.shown.items()
    ]
    commands += [("HSET", keys.attribute_schema, name, kind) for name, kind in snapshot.attribute_schema.items()]
    for user_id, raw in snapshot.user_attributes.items():
        commands.append(("ZADD", keys.users(keys.partition_of(user_id)), 0, user_id))
        commands.append(("SET", keys.user_attributes(user_id), raw))
    # A backup that an earlier version made knows nothing of the serving state's.
    commands += [
        ("HSET", keys.versions, name, max(value, int(current.get(name, 0))) + 1)
        for name, value in {"serving": 0, **snapshot.versions}.items()
    ]
    for start in range(0, len(commands), 1000):
        await client.read(commands[start : start + 1000])


async def holds_events(client: StoreClient, keys: Keys) -> bool:
    """Whether there is anything in the store that a restore would mix with. Walks the store."""
    partitions = range(keys.partitions)
    lengths = await client.read(
        [("XLEN", key) for partition in partitions for key in (keys.events(partition), keys.exposures(partition))]
    )
    if any(lengths):
        return True
    for kind in PARTITION_KINDS:
        async for _ in client.scan(keys.pattern(kind)):
            return True
    return False


async def _read_stream(client: StoreClient, key: str) -> Stream:
    return [(entry_id.decode(), _text(fields)) for entry_id, fields in await client.run("XRANGE", key, "-", "+")]


async def _read_user_attributes(client: StoreClient, keys: Keys) -> dict[str, str]:
    found: dict[str, str] = {}
    for partition in range(keys.partitions):
        begin = "-"
        while begin:
            ids = await client.run("ZRANGEBYLEX", keys.users(partition), begin, "+", "LIMIT", 0, 1000)
            texts = [user_id.decode() for user_id in ids]
            raws = await client.read([("GET", keys.user_attributes(user_id)) for user_id in texts])
            found |= {user_id: raw.decode() for user_id, raw in zip(texts, raws, strict=True) if raw is not None}
            begin = f"({texts[-1]}" if texts else ""
    return found


async def _read_shown(client: StoreClient, keys: Keys, quality: dict[str, str]) -> dict[str, Sketch]:
    """The sketches of the models and days that `quality` has sums of; expired ones are left out."""
    pairs = sorted({field.rpartition("|")[0] for field in quality if field.count("|") == 2})
    names = [keys.shown_items(*pair.split("|")) for pair in pairs]
    found = await client.read([command for name in names for command in (("GET", name), ("PTTL", name))])
    return {
        pair: Sketch(base64=base64.b64encode(raw).decode(), expires_in_ms=left_ms)
        for pair, raw, left_ms in zip(pairs, found[::2], found[1::2], strict=True)
        if raw is not None and left_ms > 0
    }


def _text(raw: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in raw.items()}
