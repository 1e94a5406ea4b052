"""How much each group of `table` uses. Cheap: the store is asked for samples, the folders are walked in a thread."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from redis.asyncio.cluster import RedisCluster

from configs.settings import Settings
from features.lifecycle.table import BY_FILE, GROUPS, KEYS, Group, budget_bytes
from features.redis.connection import StoreClient, store_errors
from features.redis.keys import PARTITION_KINDS, Keys

SAMPLE = 200
"""Keys that are looked at; a store with no more is measured whole."""
DEADLINE_S = 10.0
_OF_KIND: dict[str, Group] = {**dict.fromkeys(PARTITION_KINDS, "users"), "d": "ledgers", "i": "items"}


class Use(BaseModel):
    """What a group uses of its budget."""

    model_config = ConfigDict(frozen=True)

    group: str = Field(description="a group of the table in docs/operations.md, or `store` for the memory in total")
    used_bytes: int = Field(description="of keys of users and items an estimate from a sample")
    budget_bytes: int | None = Field(description="of the store its maxmemory; null without one")

    @property
    def share(self) -> float:
        return self.used_bytes / self.budget_bytes if self.budget_bytes else 0.0

    @property
    def text(self) -> str:
        budget = "" if self.budget_bytes is None else f" of {self.budget_bytes / 1e6:,.0f}"
        return f"{self.group} {self.used_bytes / 1e6:,.1f}{budget} MB"


def single_keys(keys: Keys) -> dict[str, Group]:
    """The keys that come once in a store, or once in a partition, each with its group."""
    found: dict[str, Group] = {}
    for row in KEYS:
        if isinstance(getattr(Keys, row.name), property):
            found[getattr(keys, row.name)] = row.group
        elif row.name in (
            "events",
            "exposures",
            "exposures_trimmed",
            "experiment_sums",
            "totals",
            "rebuilding",
            "users",
        ):
            found |= {getattr(keys, row.name)(partition): row.group for partition in range(keys.partitions)}
    return found


async def store_use(client: StoreClient, keys: Keys) -> Counter[Group]:
    """Bytes of each group of keys: exact (as the server estimates a key) for single keys, else from a sample.

    Raises:
        StoreError: the store does not answer.
    """
    singles = single_keys(keys)
    sizes = await client.read([("MEMORY USAGE", key) for key in singles])
    used: Counter[Group] = Counter()
    for group, size in zip(singles.values(), sizes, strict=True):
        used[group] += size or 0
    redis = client.raw
    with store_errors():
        async with asyncio.timeout(DEADLINE_S):
            if isinstance(redis, RedisCluster):
                await redis.initialize()
            for node in redis.get_primaries() if isinstance(redis, RedisCluster) else [redis]:
                used.update(await _of_node(node, keys, singles))
    return used


async def _of_node(node: Any, keys: Keys, singles: dict[str, Group]) -> Counter[Group]:
    total = int(await node.execute_command("DBSIZE"))
    names: list[bytes] = []
    if total <= SAMPLE:
        cursor = -1
        while cursor:
            cursor, page = await node.execute_command("SCAN", max(cursor, 0), "COUNT", SAMPLE)
            cursor, names = int(cursor), names + list(page)
        names = list(dict.fromkeys(names))
    else:
        names = [name for _ in range(SAMPLE) if (name := await node.execute_command("RANDOMKEY")) is not None]
    found: Counter[Group] = Counter()
    for name in names:
        text = name.decode(errors="replace")
        if text.startswith(f"{keys.prefix}:{{") and text not in singles:
            found[_group_of(text)] += int(await node.execute_command("MEMORY USAGE", name) or 0)
    scale = total / len(names) if names else 1.0
    return Counter({group: round(size * scale) for group, size in found.items()})


def _group_of(key: str) -> Group:
    """The group of a key that comes once for each user, item, window, model, ..."""
    kind = key.partition("}:")[2].partition(":")[0]
    return "items" if kind == "trending" else _OF_KIND.get(kind, "control")


def disk_use(settings: Settings) -> Counter[Group]:
    """Bytes of each group of files. Walks folders: not for the event loop."""
    used: Counter[Group] = Counter()
    if settings.state_dir.is_dir():
        for entry in settings.state_dir.iterdir():
            used[BY_FILE.get(entry.name, "files")] += sum(_sizes(entry))
    for folder in (settings.data_dir / "raw", settings.data_dir / "processed", settings.run_dir):
        used["files"] += sum(_sizes(folder))
    return used


def _sizes(path: Path) -> Iterator[int]:
    if path.is_file():
        yield _size(path)
    for folder, _, names in os.walk(path):
        yield from (_size(Path(folder) / name) for name in names)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0  # it was removed meanwhile


async def measure(client: StoreClient, keys: Keys, settings: Settings) -> list[Use]:
    """What every group uses now, against the budgets of the settings. Raises `StoreError`."""
    used = await store_use(client, keys) + await asyncio.to_thread(disk_use, settings)
    return [
        Use(group=group, used_bytes=used[group], budget_bytes=budget_bytes(settings.keeping, group)) for group in GROUPS
    ]
