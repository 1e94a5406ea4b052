"""What stands for a replica behind the proxy."""

import asyncio
import signal
import sys
import threading
from collections.abc import Coroutine
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Replica:
    """An HTTP server that answers what the query asks for: `status`, `type`, `text`, `seconds` before it answers."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.most_in_flight = 0
        self.answered = 0
        self.heads: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.port = self._await(self._listen())

    def _await(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next(
                    (
                        int(line.split(":")[1])
                        for line in head.splitlines()
                        if line.lower().startswith("content-length")
                    ),
                    0,
                )
                target = head.split()[1]
                if not target.startswith("/-/healthz"):
                    self.heads.append(head)
                    self.in_flight += 1
                    self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    await reader.readexactly(length)
                    await self._answer(target, writer)
                finally:
                    if not target.startswith("/-/healthz"):
                        self.in_flight -= 1
                        self.answered += 1
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, target: str, writer: asyncio.StreamWriter) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        await asyncio.sleep(float(asked.get("seconds", 0)))
        if "broken" in asked:
            writer.write(b"this is no answer\r\n\r\n")
            writer.close()
            return
        text = asked.get("text", "{}").encode()
        head = f"HTTP/1.1 {asked.get('status', 200)} X\r\ncontent-type: {asked.get('type', 'application/json')}\r\n"
        writer.write(f"{head}content-length: {len(text)}\r\n\r\n".encode() + text)
        await writer.drain()

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            mine = asyncio.current_task()
            tasks = [task for task in asyncio.all_tasks() if task is not mine]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._await(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def main() -> None:
    """As many as the argument says, in one process that can be killed; prints their ports."""
    print(*(Replica().port for _ in range(int(sys.argv[1]))), flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
