"""What of the store is in no stream and no log: catalogue, slots, experiments, tombstones. For backups."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from features.connection import StoreClient
from features.keys import PARTITION_KINDS, Keys
from features.layout import FORMAT


class Snapshot(BaseModel):
    """The control keys as they lie in the store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    partitions: int
    versions: dict[str, int]
    catalogue: dict[str, str]
    slots: dict[str, str]
    decisions: list[tuple[str, dict[str, str]]]
    experiments: dict[str, str] = {}
    experiment_changes: list[tuple[str, dict[str, str]]] = []
    rollout: str | None = None
    erased: dict[str, int]


async def take_snapshot(client: StoreClient, keys: Keys) -> Snapshot:
    """Read the control keys. The versions come first: what changes meanwhile is then newer than they say."""
    versions = _text(await client.run("HGETALL", keys.versions))
    catalogue, slots, erased = await client.read(
        [("HGETALL", keys.catalogue), ("HGETALL", keys.slots), ("HGETALL", keys.erased)]
    )
    decisions = await client.run("XRANGE", keys.decisions, "-", "+")
    experiments, changes, rollout = await client.read(
        [("HGETALL", keys.experiments), ("XRANGE", keys.experiment_changes, "-", "+"), ("GET", keys.rollout)]
    )
    return Snapshot(
        partitions=keys.partitions,
        versions={name: int(value) for name, value in versions.items()},
        catalogue=_text(catalogue),
        slots=_text(slots),
        decisions=[(entry_id.decode(), _text(fields)) for entry_id, fields in decisions],
        experiments=_text(experiments),
        experiment_changes=[(entry_id.decode(), _text(fields)) for entry_id, fields in changes],
        rollout=None if rollout is None else rollout.decode(),
        erased={name: int(value) for name, value in _text(erased).items()},
    )


async def put_snapshot(client: StoreClient, keys: Keys, snapshot: Snapshot) -> None:
    """Write the control keys over whatever is there. Safe to repeat.

    The versions go above both the old and the restored ones, and the changes that lead there are gone, so every
    replica reads all anew.
    """
    current = _text(await client.run("HGETALL", keys.versions))
    replaced = (
        *(keys.decisions, keys.catalogue, keys.catalogue_changes, keys.slots),
        *(keys.experiments, keys.experiment_changes, keys.rollout),
    )
    commands: list[tuple[Any, ...]] = [("DEL", key) for key in replaced]
    commands += [("HSET", keys.catalogue, item_id, raw) for item_id, raw in snapshot.catalogue.items()]
    commands += [("HSET", keys.slots, name, raw) for name, raw in snapshot.slots.items()]
    commands += [("HSET", keys.erased, digest, time_ms) for digest, time_ms in snapshot.erased.items()]
    commands += [("HSET", keys.experiments, experiment, raw) for experiment, raw in snapshot.experiments.items()]
    if snapshot.rollout is not None:
        commands.append(("SET", keys.rollout, snapshot.rollout))
    for stream, entries in (
        (keys.decisions, snapshot.decisions),
        (keys.experiment_changes, snapshot.experiment_changes),
    ):
        commands += [
            ("XADD", stream, entry_id, *(text for pair in fields.items() for text in pair))
            for entry_id, fields in entries
        ]
    commands += [
        ("HSET", keys.versions, name, max(value, int(current.get(name, 0))) + 1)
        for name, value in snapshot.versions.items()
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


def _text(raw: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in raw.items()}
