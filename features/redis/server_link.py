"""What one process sends to one server, and writes that its copies confirm before they count as done.

A server answers a write when it has it itself; its copies get it a moment later. Where the server dies in between, the
copy that takes over does not know the write. `WAIT` tells how many copies have everything that a connection wrote.
"""

import asyncio
import contextvars
from collections.abc import Sequence
from typing import Any, NamedTuple

import redis.exceptions as raw

from features.redis.keys import confirmed_key
from features.redis.wire import Command, Wire

WAIT_SHARE = 0.8
"""Share of an answer's longest time that copies have; the rest is for the answer's way."""
_ASKING: Command = ("ASKING",)


class NotConfirmed(raw.RedisError):
    """A write has happened on its server, and too few copies have said that they have it: it may yet be lost."""


def key_of(command: Command) -> str:
    """The first key of a command: a script's stands behind its hash and the number of its keys."""
    return str(command[3] if command[0] in ("EVALSHA", "EVAL") else command[1])


class _Waiting(NamedTuple):
    commands: Sequence[Command]
    keys: Sequence[str]
    asking: bool
    future: "asyncio.Future[list[Any]]"


class ServerLink:
    """The connections to one server.

    Args:
        url: as `Wire` reads it.
        timeout_s: longest wait for an answer.
        copies: how many copies confirm what is sent with `confirm`; 0: none is asked.
    """

    def __init__(self, url: str, timeout_s: float, copies: int) -> None:
        self._wire = Wire(url, timeout_s)
        self._confirming = _Confirming(Wire(url, timeout_s), copies, timeout_s) if copies else None

    async def exchange(self, commands: Sequence[Command], confirm: bool = False, asking: bool = False) -> list[Any]:
        """The commands' answers, or in their place what they met.

        Args:
            confirm: each answer is either an error or of a command whose effects the copies have.
            asking: the keys are on their way to this server, which serves them to those who say so.

        Raises:
            redis.exceptions.ConnectionError, TimeoutError: as `Wire`.
        """
        if confirm and commands and self._confirming is not None:
            return await self._confirming.exchange(commands, [key_of(command) for command in commands], asking)
        if not asking:
            return await self._wire.exchange(commands)
        return (await self._wire.exchange(_asked(commands)))[1::2]

    async def confirm(self, key: str) -> None:
        """Return when the copies have all that this server did before, in the slot of `key`.

        Raises:
            redis.exceptions.RedisError: they have not, in time.
        """
        if self._confirming is not None:
            (answer,) = await self._confirming.exchange([("EXISTS", key)], [key], asking=False)
            if isinstance(answer, raw.RedisError):
                raise answer

    def close(self) -> None:
        self._wire.close()
        if self._confirming is not None:
            self._confirming.close()


class _Confirming:
    """A connection on which `WAIT` follows the writes. It holds up what comes behind it, so reads have another one,
    and whatever arrives while one batch waits makes up the next."""

    def __init__(self, wire: Wire, copies: int, timeout_s: float) -> None:
        self._wire = wire
        self._copies = copies
        self._wait: Command = ("WAIT", copies, max(1, int(timeout_s * WAIT_SHARE * 1000)))
        self._gathered: list[_Waiting] = []
        self._sending: asyncio.Task[None] | None = None

    def exchange(self, commands: Sequence[Command], keys: Sequence[str], asking: bool) -> "asyncio.Future[list[Any]]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()
        self._gathered.append(_Waiting(commands, keys, asking, future))
        if self._sending is None or self._sending.done():
            # In a context of its own: the request that came first may hang up, and the others still wait.
            self._sending = loop.create_task(self._send(), context=contextvars.Context())
        return future

    async def _send(self) -> None:
        while self._gathered:
            batch, self._gathered = self._gathered, []
            try:
                answers = await self._answers(batch)
            except asyncio.CancelledError:
                # The link was closed: its server has left the cluster, perhaps, and others asked it just now.
                _fail(batch, raw.ConnectionError("closed"))
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait, and the next batch goes
                _fail(batch, error)
                continue
            for waiting, found in zip(batch, answers, strict=True):
                if not waiting.future.done():
                    waiting.future.set_result(found)

    async def _answers(self, batch: Sequence[_Waiting]) -> list[list[Any]]:
        sent: list[Command] = []
        for waiting in batch:
            sent += _asked(waiting.commands) if waiting.asking else waiting.commands
        # WAIT speaks of what this connection wrote. A repeat that finds its event there writes nothing, and its first
        # try may have gone by a connection that broke: so each slot gets a write here that comes behind both.
        marks = list({(confirmed_key(key), waiting.asking): None for waiting in batch for key in waiting.keys})
        for key, asking in marks:
            # The server that a slot moves to makes no mark of its own: the one on its way would find its place taken.
            sent += _asked([("SET", key, 1, "XX")]) if asking else [("SET", key, 1)]
        answers = iter(await self._wire.exchange([*sent, self._wait]))
        found = [_take(answers, len(waiting.commands), waiting.asking) for waiting in batch]
        marked = {mark: _take(answers, 1, mark[1])[0] for mark in marks}
        confirmed = next(answers)
        if isinstance(confirmed, BaseException):
            raise confirmed
        for waiting, its_answers in zip(batch, found, strict=True):
            for place, key in enumerate(waiting.keys):
                mark = marked[confirmed_key(key), waiting.asking]
                if isinstance(its_answers[place], BaseException) or (confirmed >= self._copies and mark == b"OK"):
                    continue
                if isinstance(mark, raw.RedisError):
                    its_answers[place] = mark
                elif mark is None:
                    its_answers[place] = raw.TryAgainError("the slot's mark of what is confirmed is still on its way")
                else:
                    its_answers[place] = NotConfirmed(
                        f"{confirmed} of {self._copies} copies have confirmed the write in time"
                    )
        return found

    def close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
        self._wire.close()
        _fail(self._gathered, raw.ConnectionError("closed"))
        self._gathered = []


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.future.done():
            waiting.future.set_exception(error)


def _asked(commands: Sequence[Command]) -> list[Command]:
    return [part for command in commands for part in (_ASKING, command)]


def _take(answers: Any, n: int, asking: bool) -> list[Any]:
    taken = [next(answers) for _ in range(2 * n if asking else n)]
    return taken[1::2] if asking else taken
