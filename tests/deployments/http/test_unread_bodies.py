"""Who is refused before a large body was read loses the connection, and with it a place among large bodies."""

import asyncio

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from deployments.http.unread_bodies import BUFFERED_BYTES, ClosesUnread

pytestmark = pytest.mark.anyio


async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body only when the address says so."""
    more = scope["path"] == "/reads"
    while more:
        more = (await receive()).get("more_body", False)
    headers = [(b"content-length", b"2"), (b"connection", b"keep-alive")]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": b"no"})


@pytest.mark.parametrize(
    ("path", "head", "body", "closed"),
    [
        ("/", f"content-length: {BUFFERED_BYTES + 1}", b"a part", True),
        ("/", "transfer-encoding: chunked", b"6\r\na part\r\n", True),
        ("/", "content-length: 6", b"a part", False),
        ("/reads", f"content-length: {BUFFERED_BYTES + 1}", b"a" * (BUFFERED_BYTES + 1), False),
        ("/reads", "transfer-encoding: chunked", b"6\r\na part\r\n0\r\n\r\n", False),
    ],
)
async def test_an_answer_before_the_end_of_a_large_body_closes(path: str, head: str, body: bytes, closed: bool) -> None:
    server = uvicorn.Server(uvicorn.Config(ClosesUnread(refuses), port=0, log_level="error", lifespan="off"))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{head}\r\n\r\n".encode() + body)
    answer = await asyncio.wait_for(reader.readuntil(b"no"), 10)
    assert answer.startswith(b"HTTP/1.1 401")
    if not closed:
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    rest = await asyncio.wait_for(reader.readuntil(b"no") if not closed else reader.read(), 10)
    assert rest.startswith(b"" if closed else b"HTTP/1.1 401")
    assert (rest == b"") == closed
    writer.close()
    await server.shutdown()
