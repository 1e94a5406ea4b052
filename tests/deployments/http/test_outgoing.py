"""What a replica's own requests cost, and which settings of the environment they follow."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from deployments.http import outgoing

pytestmark = pytest.mark.anyio


async def test_certificate_authorities_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    outgoing._authorities.cache_clear()
    create, read = ssl.create_default_context, []

    def counted(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        read.append(kwargs)
        return create(*args, **kwargs)

    monkeypatch.setattr(ssl, "create_default_context", counted)
    for _ in range(3):
        async with outgoing.client(1.0):
            pass
    assert len(read) == 1


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A server's address, and the targets it was asked for: a whole address where it was asked as a proxy."""
    targets: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            targets.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", targets
        server.shutdown()


@pytest.mark.parametrize("environment", [True, False])
async def test_a_proxy_of_the_environment_is_asked_only_on_the_way_outside(
    environment: bool, asked: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, targets = asked
    monkeypatch.setenv("HTTP_PROXY", address)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with outgoing.client(5.0, environment=environment) as http:
        await http.get(f"{address}/")
    assert targets == [f"{address}/" if environment else "/"]
