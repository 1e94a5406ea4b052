"""One connection to the server, shared by all requests of a process: commands leave at once, answers come in order.

redis-py serves everything that is not asked thousands of times a second (and Redis Cluster). Here its pool, its
per-answer tasks and timeouts cost more than the answers: by a profile, 18 % of the ranking replica's time went there.
The protocol itself is still hiredis's, in C.

For 32 callers with pipelines of 4 GETs, a pipeline costs 4 microseconds of processor time here, 31 in valkey-glide and
60 in redis-py (uvloop, medians); on 2 cores, with Valkey on them too, 163,000, 45,000 and 17,000 are answered a second.

What is asked in one turn of the event loop leaves in one write. Nobody waits for an earlier answer, so a server that
syncs its disk finds all that gathered meanwhile and syncs once for it.
"""

import asyncio
import contextvars
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import hiredis
import redis.exceptions as raw
from redis.asyncio.connection import SSLConnection, parse_url

Command = tuple[Any, ...]
GRACE_S = 0.05
_ERRORS = {
    "NOSCRIPT": raw.NoScriptError,
    "OOM": raw.OutOfMemoryError,
    "READONLY": raw.ReadOnlyError,
    "LOADING": raw.BusyLoadingError,
    "NOAUTH": raw.AuthenticationError,
    "WRONGPASS": raw.AuthenticationError,
    "MOVED": raw.MovedError,
    "ASK": raw.AskError,
    "TRYAGAIN": raw.TryAgainError,
    "CLUSTERDOWN": raw.ClusterDownError,
    "MASTERDOWN": raw.MasterDownError,
}


def reply_error(text: str) -> raw.RedisError:
    """The exception of redis-py that an error reply stands for."""
    code, _, rest = text.partition(" ")
    return _ERRORS[code](rest) if code in _ERRORS else raw.ResponseError(text)


class Wire:
    """Sends pipelines and hands out their answers. Connects when first used, and again after a failure.

    Args:
        url: redis://, rediss:// or unix://; user, password and database number as redis-py reads them.
        timeout_s: the longest wait for an answer. Whoever waits longer fails, and so do all behind them: the answers
            come in order.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._options = parse_url(url)
        self._tls = urlsplit(url).scheme == "rediss"
        self._timeout_s = timeout_s
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[_Connection] | None = None

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Answers to commands, as the server gives them; an error reply stands in its place as an exception.

        Raises:
            redis.exceptions.ConnectionError: no connection, or it broke before all answers were there.
            redis.exceptions.TimeoutError: no answer in time.
        """
        if not commands:
            return []
        connection = self._connection
        if connection is None or connection.broken:
            connection = await self._connected()
        return await connection.ask(b"".join([hiredis.pack_command(command) for command in commands]), len(commands))

    async def _connected(self) -> "_Connection":
        if self._connecting is None or self._connecting.done():
            # A task in a context of its own: the first request's hang-up must not cost the others their connection.
            loop = asyncio.get_running_loop()
            self._connecting = loop.create_task(self._connect(), context=contextvars.Context())
            self._connecting.add_done_callback(_consume)
        try:
            return await asyncio.shield(self._connecting)
        except asyncio.CancelledError:
            if self._connecting.cancelled():  # by `close`, not who waits
                raise raw.ConnectionError("closed") from None
            raise

    async def _connect(self) -> "_Connection":
        options, loop = self._options, asyncio.get_running_loop()
        connection = _Connection(self._timeout_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                if "path" in options:
                    await loop.create_unix_connection(lambda: connection, options["path"])
                else:
                    host, port = options.get("host", "localhost"), options.get("port", 6379)
                    await loop.create_connection(lambda: connection, host, port, ssl=self._ssl())
                greeting = self._greeting()
                for answer in await connection.ask(b"".join(map(hiredis.pack_command, greeting)), len(greeting)):
                    if isinstance(answer, Exception):
                        raise answer
        except BaseException as error:
            connection.break_off(raw.ConnectionError("closed while connecting"))
            if isinstance(error, TimeoutError):
                raise raw.TimeoutError("no connection in time") from error
            if isinstance(error, OSError):
                raise raw.ConnectionError(str(error)) from error
            raise
        self._connection = connection
        return connection

    def _ssl(self) -> ssl.SSLContext | None:
        if not self._tls:
            return None
        context: ssl.SSLContext = SSLConnection(**self._options_without_class()).ssl_context.get()
        return context

    def _options_without_class(self) -> dict[str, Any]:
        return {name: value for name, value in self._options.items() if name != "connection_class"}

    def _greeting(self) -> list[Command]:
        options = self._options
        greeting: list[Command] = []
        if options.get("password"):
            user = (options["username"],) if options.get("username") else ()
            greeting.append(("AUTH", *user, options["password"]))
        if options.get("db"):
            greeting.append(("SELECT", options["db"]))
        return greeting or [("PING",)]

    def close(self) -> None:
        """Break off; whoever still waits fails."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.break_off(raw.ConnectionError("closed"))


def _consume(task: "asyncio.Task[_Connection]") -> None:
    """Whoever waited has the exception already, or has gone."""
    if not task.cancelled():
        task.exception()


class _Waiting:
    """Who waits for the next `missing` answers."""

    __slots__ = ("answers", "deadline", "future", "missing")

    def __init__(self, future: "asyncio.Future[list[Any]]", missing: int, deadline: float) -> None:
        self.future = future
        self.missing = missing
        self.deadline = deadline
        self.answers: list[Any] = []


class _Connection(asyncio.Protocol):
    def __init__(self, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._reader = hiredis.Reader(protocolError=raw.InvalidResponse, replyError=reply_error)
        self._waiting: deque[_Waiting] = deque()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._overdue: _Waiting | None = None
        self.broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def ask(self, packed: bytes, answers: int) -> "asyncio.Future[list[Any]]":
        """Queue packed commands; the future is done when all their answers are there."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.broken:
            future.set_exception(raw.ConnectionError("the connection is broken"))
            return future
        deadline = self._loop.time() + self._timeout_s
        self._waiting.append(_Waiting(future, answers, deadline))
        if self._watch is None:
            # One timer for all: they are in order of their deadlines.
            self._due = deadline
            self._watch = self._loop.call_at(deadline, self._check)
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(packed)
        return future

    def _flush(self) -> None:
        if not self.broken and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                head = self._waiting[0]
                head.answers.append(answer)
                head.missing -= 1
                if head.missing == 0:
                    self._waiting.popleft()
                    if not head.future.done():  # else its request was cancelled
                        head.future.set_result(head.answers)
        except (raw.InvalidResponse, IndexError) as error:
            self.break_off(raw.ConnectionError(f"the server answers out of turn: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.break_off(raw.ConnectionError(str(error) if error else "the server closed the connection"))

    def break_off(self, error: Exception) -> None:
        """Fail everybody who waits, and be of no use from here on."""
        self.broken = True
        if self._transport is not None:
            self._transport.abort()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        while self._waiting:
            future = self._waiting.popleft().future
            if not future.done():
                future.set_exception(error)

    def _check(self) -> None:
        self._watch = None
        if not self._waiting:
            return
        head, now = self._waiting[0], self._loop.time()
        if (late_s := now - self._due) > GRACE_S:
            # This process stood still (a start, a busy machine); what has long been received is yet to be read. So
            # the server is given the time that was lost here.
            head.deadline = max(head.deadline, now) + late_s
        if now < head.deadline:
            self._due = head.deadline
            self._watch = self._loop.call_at(self._due, self._check)
            return
        if self._overdue is not head:
            self._overdue, self._due = head, now + GRACE_S
            self._watch = self._loop.call_at(self._due, self._check)
            return
        self.break_off(raw.TimeoutError(f"no answer within {self._timeout_s:g} s"))
