"""The clock of the store's server, by which it stamps what it records."""

import asyncio

from features.recording.online_store import OnlineStore

PATIENCE_S = 30


async def server_ms(store: OnlineStore) -> int:
    seconds, micros = await store.client.run_on(store.keys.exposures(0), "TIME")
    return int(seconds) * 1000 + int(micros) // 1000


async def until_after(store: OnlineStore, time_ms: int) -> None:
    """Wait until the server's clock has passed a time."""
    async with asyncio.timeout(PATIENCE_S):
        while await server_ms(store) <= time_ms:  # noqa: ASYNC110 - nobody but the clock can say
            await asyncio.sleep(0)


async def next_millisecond(store: OnlineStore) -> None:
    """Wait until what is recorded from now on is later than all that was."""
    await until_after(store, await server_ms(store))
