"""The connection to the online store: one deadline, one kind of errors, and how durable the server is."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis.exceptions as raw
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from configs.settings import Store
from features.redis.cluster_links import ClusterLinks
from features.redis.errors import StoreError, StoreFull, StoreUnavailable
from features.redis.server_link import NotConfirmed, ServerLink
from features.redis.wire import Command

MAX_CONNECTIONS = 64
_TRANSIENT = (
    raw.ConnectionError,
    raw.TimeoutError,
    raw.ClusterError,
    raw.RedisClusterException,
    raw.ReadOnlyError,
    TimeoutError,
    OSError,
)


def _split_cluster(url: str) -> tuple[str, bool]:
    parts = urlsplit(url)
    scheme = parts.scheme
    cluster = scheme.endswith("+cluster")
    query = parse_qsl(parts.query, keep_blank_values=True)
    asked = [value.lower() for name, value in query if name == "cluster"]
    rest = urlencode([pair for pair in query if pair[0] != "cluster"])
    cluster = cluster or (bool(asked) and asked[-1] in ("1", "true", "yes"))
    return urlunsplit(parts._replace(scheme=scheme.removesuffix("+cluster"), query=rest)), cluster


def translate(error: BaseException) -> StoreError:
    """The error of the client library as one of ours."""
    text = str(error) or type(error).__name__
    if isinstance(error, raw.OutOfMemoryError):
        return StoreFull(f"the online store is full: {text}")
    if isinstance(error, raw.ResponseError) and text.startswith("MISCONF"):
        return StoreFull(f"the online store cannot write to its disk: {text}")
    if isinstance(error, NotConfirmed):
        return StoreUnavailable(f"the online store may yet lose it: {text}; repeat it")
    if isinstance(error, raw.ResponseError) and text.startswith("NOREPLICAS"):
        return StoreUnavailable(f"the online store has too few copies to take a write: {text}")
    if isinstance(error, (raw.AskError, raw.TryAgainError)):
        return StoreUnavailable(f"the online store is moving these keys to another server: {text}")
    if isinstance(error, _TRANSIENT):
        return StoreUnavailable(f"the online store does not answer: {text}")
    return StoreError(f"the online store refused: {text}")


@contextmanager
def store_errors() -> Iterator[None]:
    """Turns every error of the client library into a `StoreError`."""
    try:
        yield
    except (raw.RedisError, TimeoutError, OSError) as error:
        raise translate(error) from error
    except RuntimeError as error:
        if not _is_closed(error):
            raise
        raise translate(raw.ConnectionError(str(error))) from error


def _is_closed(error: RuntimeError) -> bool:
    """Whether uvloop says by it that a connection is closed; where asyncio's own loop writes into nothing."""
    return "handler is closed" in str(error)


class StoreClient:
    """A client of the store: pipelines with one deadline, and our errors instead of the library's.

    Args:
        raw: a client of redis-py; belongs to the event loop that uses it first.
        timeout_s: the longest wait for one answer.
        links: connections of our own to the same servers, for what is asked very often or must be confirmed.
    """

    def __init__(self, raw: Redis | RedisCluster, timeout_s: float, links: ServerLink | ClusterLinks) -> None:
        self.raw = raw
        self.timeout_s = timeout_s
        self._links = links

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip (one per node in a cluster), without a transaction.

        Returns:
            For each command its answer, or the exception that it met: one failed command does not hide the others.

        Raises:
            StoreUnavailable: no answer in time, or no connection.
        """
        if not commands:
            return []
        with store_errors():
            async with asyncio.timeout(self.timeout_s):
                try:
                    return await self._send(commands)
                except raw.ConnectionError:
                    # The server was restarted and the pool held a dead connection, so the commands probably never
                    # arrived. Where they did and only the answer was lost, this runs them twice: events, telemetry,
                    # changes of the serving state and locks know the repeat, plain SET or HSET come to the same; an
                    # exposure is known again only while it is its user's latest; sums of quality, which compare a
                    # watermark first, answer that somebody else was quicker; a note in the timeline and a catalogue
                    # version stand there twice.
                    return await self._send(commands)

    async def exchange(self, commands: Sequence[Command], confirm: bool = False) -> list[Any]:
        """`pipeline` for what every request asks. Quicker; answers may come as the server gives them (HGETALL a flat
        list) or as redis-py shows them (a dict).

        Args:
            confirm: an answer that is no exception means that `store.copies` copies of the store have the write. The
                commands are of keys.

        Raises:
            StoreUnavailable: no answer in time, or no connection.
        """
        try:
            try:
                return await self._links.exchange(commands, confirm)
            except raw.ConnectionError:
                return await self._links.exchange(commands, confirm)  # one more try, as in `pipeline`
        except (raw.RedisError, OSError) as error:
            raise translate(error) from error

    async def confirm(self, key: str) -> None:
        """Return when `store.copies` copies have what the server of `key` wrote before.

        Raises:
            StoreUnavailable: too few have it, in time.
        """
        with store_errors():
            await self._links.confirm(key)

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        client = self.raw
        if isinstance(client, RedisCluster):
            return await self._send_to_cluster(client, commands)
        pipe: Any = client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        try:
            answers: list[Any] = await pipe.execute(raise_on_error=False)
        except RuntimeError as error:
            if not _is_closed(error):
                raise
            raise raw.ConnectionError(str(error)) from error
        return answers

    async def _send_to_cluster(self, client: RedisCluster, commands: Sequence[Command]) -> list[Any]:
        """One pipeline a server. redis-py puts a dead server's error where its answers belong, and without retries of
        its own it never asks who has taken over; so it is told to, and those commands go there once more."""
        answers: list[Any] = [None] * len(commands)
        todo = list(range(len(commands)))
        for last in (False, True):
            pipe: Any = client.pipeline()
            for place in todo:
                pipe.execute_command(*commands[place])
            for place, answer in zip(todo, await pipe.execute(raise_on_error=False), strict=True):
                answers[place] = answer
            todo = [place for place in todo if isinstance(answers[place], RedisCluster.ERRORS_ALLOW_RETRY)]
            if not todo or last:
                break
            await client.nodes_manager.initialize()
        for place in todo:
            raise answers[place]
        return answers

    async def read(self, commands: Sequence[Command]) -> list[Any]:
        """`pipeline` whose every command must succeed. Raises `StoreError` and its kinds."""
        answers = await self.pipeline(commands)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise translate(answer) from answer
        return answers

    async def run(self, *command: Any) -> Any:
        """One command. Raises `StoreError` and its kinds."""
        return (await self.read([command]))[0]

    async def run_on(self, key: str, *command: Any) -> Any:
        """A command without a key, on the server that holds `key`. Raises `StoreError` and its kinds."""
        with store_errors():
            async with asyncio.timeout(self.timeout_s):
                if not isinstance(self.raw, RedisCluster):
                    return await self.raw.execute_command(*command)
                await self.raw.initialize()
                return await self.raw.execute_command(*command, target_nodes=self.raw.get_node_from_key(key))

    async def load_script(self, text: str) -> None:
        """Make a script known to every server; of a cluster, to those that answer."""
        with store_errors():
            async with asyncio.timeout(self.timeout_s):
                if not isinstance(self.raw, RedisCluster):
                    await self.raw.script_load(text)
                    return
                await self.raw.initialize()
                nodes = self.raw.get_primaries()
                loads = [node.execute_command("SCRIPT LOAD", text) for node in nodes]
                await asyncio.gather(*loads, return_exceptions=True)

    async def scan(self, pattern: str) -> AsyncIterator[bytes]:
        """Keys that match, over all nodes. Walks the whole store: for offline jobs only. Raises `StoreUnavailable`."""
        keys = self.raw.scan_iter(match=pattern, count=1000)
        while True:
            with store_errors():
                async with asyncio.timeout(self.timeout_s):
                    key = await anext(keys, None)
            if key is None:
                return
            yield key

    async def aclose(self) -> None:
        self._links.close()
        await self.raw.aclose()


def connect(store: Store, url: str) -> StoreClient:
    """A client of the store; does not touch the network, so a replica can start while the store is down.

    `redis+cluster://host:port` or `?cluster=true` names a Redis Cluster; any node of it will do. Nothing is
    retried inside redis-py: `StoreClient` decides, within one deadline.
    """
    address, cluster = _split_cluster(url)
    options: dict[str, Any] = {
        # Each call has its deadline here. redis-py's own is by `asyncio.wait_for`, which until Python 3.12 loses a
        # cancellation that comes just as a command is written: who ends a task that asks in a loop would wait for ever.
        "socket_timeout": None,
        "socket_connect_timeout": store.timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if cluster:
        cluster_client = RedisCluster.from_url(address, max_connections=MAX_CONNECTIONS, **options)
        return StoreClient(
            cluster_client, store.timeout_s, ClusterLinks(cluster_client, address, store.timeout_s, store.copies)
        )
    # The name of the client library is nothing that the store needs to know, and not every user there may tell it.
    options["driver_info"] = None
    # A burst waits for a free connection instead of opening hundreds
    pool = BlockingConnectionPool.from_url(address, max_connections=MAX_CONNECTIONS, timeout=store.timeout_s, **options)
    return StoreClient(Redis.from_pool(pool), store.timeout_s, ServerLink(address, store.timeout_s, store.copies))


@dataclass(frozen=True)
class Durability:
    """Whether an acknowledged write survives a crash of the server."""

    durable: bool | None
    """None: the server does not say (a managed service that refuses CONFIG)."""
    evicts: bool | None
    reason: str
    server: str


async def durability(client: StoreClient) -> Durability:
    """Ask the server how durable it is. In a cluster: the weakest primary counts."""
    redis = client.raw
    with store_errors():
        async with asyncio.timeout(client.timeout_s):
            if not isinstance(redis, RedisCluster):
                return await _durability(redis)
            await redis.initialize()
            found = [await _durability(node) for node in redis.get_primaries()]
    return min(found, key=lambda one: (one.durable is not False, one.durable is not None, not one.evicts))


async def _durability(node: Any) -> Durability:
    info = await node.execute_command("INFO")
    name = "Valkey" if "valkey_version" in info else "Redis"
    server = f"{name} {info.get('valkey_version') or info.get('redis_version')}"
    try:
        config = await node.execute_command("CONFIG GET", "append*")
        config |= await node.execute_command("CONFIG GET", "maxmemory-policy")
    except raw.ResponseError:
        return Durability(None, None, "the server does not tell its configuration", server)
    if info.get("aof_last_write_status", "ok") != "ok":
        return Durability(False, None, "the server cannot write its append-only file: is the disk full?", server)
    policy = config.get("maxmemory-policy", "noeviction")
    evicts = policy != "noeviction"
    if config.get("appendonly") != "yes":
        return Durability(False, evicts, "appendonly is off: a crash loses the latest events", server)
    if config.get("appendfsync") != "always":
        return Durability(False, evicts, f"appendfsync is {config.get('appendfsync')}, not always", server)
    if evicts:
        return Durability(True, True, f"maxmemory-policy {policy} may evict features", server)
    return Durability(True, False, "every write is on disk before it is acknowledged", server)
