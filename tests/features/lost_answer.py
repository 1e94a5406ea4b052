"""A way to the server on which an answer gets lost, after the write is done."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from configs.settings import Store
from features.redis.connection import StoreClient, connect


@asynccontextmanager
async def losing_the_answer(
    url: str, limits: Store, to: bytes = b"EVALSHA"
) -> AsyncIterator[tuple[StoreClient, list[bytes]]]:
    """A client on that way, and the answers that were lost.

    Args:
        to: bytes of the command whose first answer gets lost.
    """
    port = urlsplit(url).port
    lost: list[bytes] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while request := await reader.read(1_000_000):
                up_writer.write(request)
                answer = await up_reader.read(1_000_000)
                if to in request and b"NOSCRIPT" not in answer and not lost:
                    lost.append(answer)
                    return
                writer.write(answer)
        finally:
            for one in (writer, up_writer):
                one.close()
            await asyncio.gather(*(one.wait_closed() for one in (writer, up_writer)), return_exceptions=True)

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as between:
        client = connect(limits, f"redis://127.0.0.1:{between.sockets[0].getsockname()[1]}/0")
        try:
            yield client, lost
        finally:
            await client.aclose()
