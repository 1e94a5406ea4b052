"""How full the server's memory is: past its limit it refuses writes, while reads go on."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio.cluster import RedisCluster

from features.redis.connection import StoreClient, store_errors

NEARLY = 0.95


@dataclass(frozen=True)
class StoreMemory:
    """Bytes that count for the limit of the server; of a cluster, those of its fullest primary.

    Attributes:
        limit: `maxmemory`; 0 where there is none.
    """

    used: int
    limit: int

    @property
    def share(self) -> float:
        return self.used / self.limit if self.limit else 0.0

    @property
    def full(self) -> bool:
        return self.share >= 1

    @property
    def problem(self) -> str | None:
        """What is wrong, in words; None while there is room."""
        if self.full:
            return (
                f"its memory of {self.limit / 1e6:.0f} MB is full: it refuses events, lists are shown but not counted"
            )
        if self.share >= NEARLY:
            return f"{self.share:.0%} of its memory of {self.limit / 1e6:.0f} MB are used; a full one refuses events"
        return None


async def read_memory(client: StoreClient) -> StoreMemory:
    """Ask the server, or all primaries. Raises `StoreError`."""
    redis = client.raw
    with store_errors():
        async with asyncio.timeout(client.timeout_s):
            if not isinstance(redis, RedisCluster):
                return _of(await redis.execute_command("INFO", "memory"))
            await redis.initialize()
            found = [_of(await node.execute_command("INFO", "memory")) for node in redis.get_primaries()]
    return max(found, key=lambda one: one.share)


def _of(info: Mapping[str, Any]) -> StoreMemory:
    # The server leaves its own buffers out of what it compares with the limit.
    used = int(info["used_memory"]) - int(info.get("mem_not_counted_for_evict", 0))
    return StoreMemory(used, int(info.get("maxmemory", 0)))
