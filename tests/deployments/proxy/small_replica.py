"""What stands for a replica behind the proxy."""

import asyncio
import os
import signal
import sys
from urllib.parse import parse_qs, urlsplit

from tests.loop_thread import LoopThread


class Replica:
    """An HTTP server that answers what the query asks for: `status`, `type`, `text`, `seconds` before it answers. With
    `unread` it leaves the body unread, and closes the connection."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.most_in_flight = 0
        self.answered = 0
        self.heads: list[str] = []
        self._loop = LoopThread()
        self.port = self._loop.run(self._listen(), 10)

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
                    is_unread = "unread" in parse_qs(urlsplit(target).query)
                    await reader.readexactly(0 if is_unread else length)
                    await self._answer(target, writer)
                    if is_unread:
                        return
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
            # A connection that asyncio took and whose task has not begun would be left open by a server that closed.
            for listening in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
            await asyncio.sleep(0.01)
            self._server.close()

        self._loop.run(end(), 10)
        self._loop.close()

    def refuse(self) -> None:
        """Take no connection from now on, those that wait in the system's queue included. The loop runs on."""
        for listening in self._server.sockets:
            os.close(listening.fileno())


def main() -> None:
    """As many as the argument says, in one process; prints their ports.

    SIGTERM closes all ports at first, then all connections. Of a killed process the system closes them in any order,
    and a busy one lets time pass in between.
    """
    replicas = [Replica() for _ in range(int(sys.argv[1]))]

    def end(*_: object) -> None:
        for replica in replicas:
            replica.refuse()
        os._exit(1)

    signal.signal(signal.SIGTERM, end)
    print(*(replica.port for replica in replicas), flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
