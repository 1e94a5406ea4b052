"""The store for the length of one piece of work: connect, use, close. For jobs, which have no client of their own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from configs.settings import Settings
from features.redis.connection import StoreClient, connect
from features.redis.keys import Keys
from features.redis.layout import keys_of

T = TypeVar("T")


@asynccontextmanager
async def store_session(settings: Settings) -> AsyncIterator[tuple[StoreClient, Keys]]:
    """A client that waits as long as a job may, and the keys; the client is closed at the end."""
    client = connect(settings.patient_store, settings.store_url_of("jobs"))
    try:
        yield client, keys_of(settings.store)
    finally:
        await client.aclose()


def with_store(settings: Settings, use: Callable[[StoreClient, Keys], Awaitable[T]]) -> T:
    """What `use` answers, from code that runs in no event loop. Raises what `use` raises."""

    async def run() -> T:
        async with store_session(settings) as (client, keys):
            return await use(client, keys)

    return asyncio.run(run())
