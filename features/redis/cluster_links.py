"""Pipelines on a Redis Cluster: each command to the server that holds its slot, also while slots move.

redis-py finds the servers and keeps the map of slots; the commands go by connections of our own (`server_link`), since
`WAIT` must follow a write, and `ASKING` precede it, on the same connection.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis.exceptions as raw
from redis.asyncio.cluster import RedisCluster

from features.redis.server_link import ServerLink, key_of
from features.redis.wire import Command

Address = tuple[str, int]
PAUSE_S = 0.01
_LOST = (raw.ConnectionError, raw.TimeoutError, raw.ClusterDownError)


class ClusterLinks:
    """The connections to all servers of a cluster.

    Args:
        cluster: keeps the map of slots.
        url: of one server; its user, password, and whether it speaks TLS hold for all.
        timeout_s: longest wait for a server's answer, and how long redirections are followed.
        copies: as `ServerLink`.
    """

    def __init__(self, cluster: RedisCluster, url: str, timeout_s: float, copies: int) -> None:
        self._cluster = cluster
        self._url = urlsplit(url)
        self._timeout_s = timeout_s
        self._copies = copies
        self._links: dict[Address, ServerLink] = {}

    async def exchange(self, commands: Sequence[Command], confirm: bool = False) -> list[Any]:
        """As `ServerLink.exchange`. A command whose server is gone has its exception in its place, while the others'
        are done; only where all are gone is that raised."""
        if not commands:
            return []
        await self._cluster.initialize()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        answers: list[Any] = [None] * len(commands)
        todo = list(range(len(commands)))
        asked: dict[int, Address] = {}
        lost_before: set[int] = set()
        while todo:
            groups: dict[tuple[Address, bool], list[int]] = {}
            for place in todo:
                where = (asked[place], True) if place in asked else (self._holder(key_of(commands[place])), False)
                groups.setdefault(where, []).append(place)
            await asyncio.gather(
                *(self._ask(where, places, commands, answers, confirm) for where, places in groups.items())
            )
            again, asked = [], {}
            lost = [place for place in todo if isinstance(answers[place], _LOST)]
            if lost:
                # A copy may have taken over. The map is asked for once, and the commands sent there once more: what
                # is repeated here is known by the store, as in `StoreClient.pipeline`.
                await self._learn()
                again += [place for place in lost if place not in lost_before]
                lost_before.update(lost)
            for place in todo:
                answer = answers[place]
                if isinstance(answer, raw.MovedError):
                    await self._moved(answer)
                elif isinstance(answer, raw.AskError):
                    asked[place] = (answer.host, answer.port)
                elif not isinstance(answer, raw.TryAgainError):
                    continue
                again.append(place)
            if loop.time() >= deadline:
                break
            if len(again) == len(todo) and not asked:
                await asyncio.sleep(PAUSE_S)  # nothing went on: a slot's keys are on both sides, or nobody's yet
            todo = again
        for answer in answers:
            if not isinstance(answer, (raw.ConnectionError, raw.TimeoutError)):
                return answers
        raise answers[0]

    async def confirm(self, key: str) -> None:
        """As `ServerLink.confirm`."""
        if self._copies:
            (answer,) = await self.exchange([("EXISTS", key)], confirm=True)
            if isinstance(answer, raw.RedisError):
                raise answer

    async def _ask(
        self,
        where: tuple[Address, bool],
        places: list[int],
        commands: Sequence[Command],
        answers: list[Any],
        confirm: bool,
    ) -> None:
        address, asking = where
        try:
            found = await self._link(address).exchange([commands[place] for place in places], confirm, asking)
        except (raw.ConnectionError, raw.TimeoutError) as error:
            found = [error] * len(places)
        for place, answer in zip(places, found, strict=True):
            answers[place] = answer

    def _holder(self, key: str) -> Address:
        node = self._cluster.get_node_from_key(key)
        if node is None:
            raise raw.SlotNotCoveredError(f"no server of the cluster holds the slot of {key}")
        return str(node.host), int(node.port)

    def _link(self, address: Address) -> ServerLink:
        if address not in self._links:
            host, port = address
            host = f"[{host}]" if ":" in host else host
            login = f"{self._url.netloc.rpartition('@')[0]}@" if "@" in self._url.netloc else ""
            url = urlunsplit(self._url._replace(netloc=f"{login}{host}:{port}"))
            self._links[address] = ServerLink(url, self._timeout_s, self._copies)
        return self._links[address]

    async def _moved(self, error: raw.MovedError) -> None:
        if error.host:
            await self._cluster.nodes_manager.move_slot(error)
        else:
            await self._learn()

    async def _learn(self) -> None:
        """Ask the servers who holds what. Where none tells, the map stays as it is."""
        with suppress(raw.RedisError, OSError, TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                await self._cluster.nodes_manager.initialize()
        known = {(str(node.host), int(node.port)) for node in self._cluster.get_nodes()}
        for address in set(self._links) - known:
            self._links.pop(address).close()

    def close(self) -> None:
        for link in self._links.values():
            link.close()
