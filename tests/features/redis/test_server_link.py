"""A link that is closed while requests wait for their answers: its server left the cluster, as another request saw."""

import asyncio

import pytest
import redis.exceptions as raw

from features.redis.server_link import ServerLink

pytestmark = pytest.mark.anyio
COMMAND = ("SET", "{a}:key", "1")


@pytest.mark.parametrize("confirm", [True, False])
@pytest.mark.parametrize("reached", ["nothing", "connected", "greeted"])
async def test_who_waits_on_a_link_that_is_closed_hears_of_it(reached: str, confirm: bool) -> None:
    """Regression: with copies that confirm, who waited for a batch under way waited for ever."""
    came = {"connected": asyncio.Event(), "greeted": asyncio.Event()}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"PING\r\n")
            came["connected"].set()
            if reached == "greeted":
                writer.write(b"+PONG\r\n")
                await reader.readuntil(b"SET\r\n")
                came["greeted"].set()
            await reader.read()
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, asyncio.timeout(10):
        link = ServerLink(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", 60, copies=1)
        waiting = [asyncio.create_task(link.exchange([COMMAND], confirm=confirm)) for _ in range(3)]
        if reached != "nothing":
            await came[reached].wait()
        late = asyncio.create_task(link.exchange([COMMAND], confirm=confirm))
        await asyncio.sleep(0)
        link.close()
        for task in (*waiting, late):
            with pytest.raises(raw.ConnectionError):
                await task
