"""A connection that broke under uvloop, on which replicas run."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

from configs.settings import Store
from features.redis.connection import StoreClient, connect
from tests.features.servers import Server, valkey_binary


async def broken(client: StoreClient) -> None:
    """Close the connection below the client, just after the client has looked whether it is open."""

    async def open_still() -> bool:
        return False  # nothing to read, and so not closed

    [connection] = client.raw.connection_pool._available_connections  # type: ignore[union-attr]
    connection.can_read = open_still
    transport = connection._writer.transport
    transport.abort()
    async with asyncio.timeout(10):
        while "closed=True" not in repr(transport):  # noqa: ASYNC110 - the loop closes it in its next turn
            await asyncio.sleep(0)


def test_it_is_made_anew_and_no_unexpected_error(tmp_path: Path) -> None:
    """Regression: uvloop raises RuntimeError on a transport that is closed, which passed for an error of ours (500)."""

    async def ask() -> None:
        client = connect(Store(url=server.url), server.url)
        try:
            assert await client.run("SET", "closed", "1") in (True, b"OK")
            await broken(client)
            assert await client.run("GET", "closed") == b"1"
        finally:
            await client.aclose()

    server = Server(valkey_binary(), tmp_path / "store")
    try:
        run(ask())
    finally:
        server.stop()


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)
