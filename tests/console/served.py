"""The console's application behind its gate, served by uvicorn in a thread of its own."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn

from configs.settings import Settings
from deployments.console.console import Console
from deployments.console.routes import console_api


async def _nobody(*_: Any) -> Any:
    raise RuntimeError("no retrieval is asked here")


@contextlib.contextmanager
def served(settings: Settings) -> Iterator[str]:
    """Its address, for as long as the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        console = Console(settings, _nobody, _nobody, _nobody)
        await console.start()
        app = console.access.guarded(console_api(lambda: console, settings.serving), console=True)
        servers.append(uvicorn.Server(uvicorn.Config(app, port=port, log_level="error")))
        await servers[0].serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not (servers and servers[0].started):
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    servers[0].should_exit = True
    thread.join(30)
