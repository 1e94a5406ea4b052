"""The shared connection: order, failures, and what a caller that gives up does to the others."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import redis.exceptions as raw
import uvloop

from features.redis.wire import Wire
from tests.features.servers import VOLATILE, Server, free_ports, redis_binary

PATIENCE_S = 20
KINDS = [pytest.param(asyncio.new_event_loop, id="asyncio"), pytest.param(uvloop.new_event_loop, id="uvloop")]


def run(work: Awaitable[None], loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(work)  # type: ignore[arg-type]


@pytest.mark.parametrize("loop_factory", KINDS)
def test_everybody_gets_the_own_answers(valkey_url: str, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Serve runs replicas on uvloop, whose transports are not asyncio's."""

    async def work() -> None:
        wire = Wire(valkey_url, 5)
        asked = [[("ECHO", f"{caller}-{number}") for number in range(caller % 4)] for caller in range(200)]
        answers = await asyncio.gather(*(wire.exchange(commands) for commands in asked))
        assert answers == [[text.encode() for _, text in commands] for commands in asked]
        wire.close()

    run(work(), loop_factory)


@pytest.mark.parametrize("loop_factory", KINDS)
def test_an_error_reply_stands_in_its_place(
    valkey_url: str, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def work() -> None:
        wire = Wire(valkey_url, 5)
        first, second, third = await wire.exchange([("ECHO", "a"), ("EVALSHA", "0" * 40, 0), ("ECHO", b"b\r\n")])
        assert (first, third) == (b"a", b"b\r\n")
        assert isinstance(second, raw.NoScriptError)
        wire.close()

    run(work(), loop_factory)


@pytest.mark.parametrize("loop_factory", KINDS)
def test_a_caller_that_gives_up_leaves_the_others_their_answers(
    valkey_url: str, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def work() -> None:
        wire = Wire(valkey_url, 5)
        await wire.exchange([("PING",)])
        gone = asyncio.ensure_future(wire.exchange([("ECHO", "gone")]))
        await asyncio.sleep(0)
        gone.cancel()
        assert await wire.exchange([("ECHO", "here")]) == [b"here"]
        wire.close()

    run(work(), loop_factory)


@asynccontextmanager
async def scripted_server(answer: Callable[[asyncio.StreamWriter], None]) -> AsyncIterator[str]:
    """A server that answers PING and then does with each command as `answer` says."""

    handlers = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        writer.write(b"+PONG\r\n")
        with suppress(ConnectionError):
            await reader.read(1000)
            while await reader.read(1000):
                answer(writer)
        await close(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    if handlers:  # they see that their clients have gone
        await asyncio.wait(handlers, timeout=PATIENCE_S)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize("loop_factory", KINDS)
def test_a_silent_server_fails_all_who_wait_and_the_next_one_connects_anew(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def work() -> None:
        speaks = False

        def answer(writer: asyncio.StreamWriter) -> None:
            if speaks:
                writer.write(b"+yes\r\n")

        async with scripted_server(answer) as url:
            wire = Wire(url, 0.2)
            failures = await asyncio.gather(*(wire.exchange([("GET", "a")]) for _ in range(5)), return_exceptions=True)
            assert [type(failure) for failure in failures] == [raw.TimeoutError] * 5
            speaks = True
            assert await wire.exchange([("GET", "a")]) == [b"yes"]
            wire.close()

    run(work(), loop_factory)


@pytest.mark.parametrize("loop_factory", KINDS)
@pytest.mark.parametrize("closed", [False, True], ids=["too late", "closed meanwhile"])
def test_a_connection_that_never_greets_is_not_left_open(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], closed: bool
) -> None:
    async def work() -> None:
        accepted, ended = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set()
            with suppress(ConnectionError):
                while await reader.read(1000):
                    pass
            ended.set()
            await close(writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            wire = Wire(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", 30 if closed else 0.2)
            asked = asyncio.ensure_future(wire.exchange([("GET", "a")]))
            await accepted.wait()
            if closed:
                wire.close()
            with pytest.raises(raw.ConnectionError if closed else raw.TimeoutError):
                await asked
            await asyncio.wait_for(ended.wait(), 5)

    run(work(), loop_factory)


@pytest.mark.parametrize("loop_factory", KINDS)
def test_a_connection_that_breaks_fails_who_waits(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def work() -> None:
        async with scripted_server(lambda writer: writer.transport.abort()) as url:
            wire = Wire(url, 5)
            with pytest.raises(raw.ConnectionError):
                await wire.exchange([("GET", "a")])
        with pytest.raises(raw.ConnectionError):
            await wire.exchange([("GET", "a")])

    run(work(), loop_factory)


def test_a_password_is_given_and_a_wrong_one_is_told() -> None:
    async def work() -> None:
        seen: list[bytes] = []
        closed = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.read(1000))
            writer.write(b"-WRONGPASS invalid\r\n+OK\r\n")
            await reader.read(1000)
            await close(writer)
            closed.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            wire = Wire(f"redis://me:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/3", 5)
            with pytest.raises(raw.AuthenticationError):
                await wire.exchange([("GET", "a")])
        await asyncio.wait_for(closed.wait(), PATIENCE_S)
        assert seen == [b"*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$6\r\nsecret\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"]

    asyncio.run(work())


def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    """Against Debian's Redis, which knows TLS; a certificate that the given authority did not sign is refused."""
    binary = redis_binary()
    for name in ("mine", "other"):
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.crt")]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    port, plain_port = free_ports(2)
    options = ("--tls-port", str(port), "--tls-cert-file", str(tmp_path / "mine.crt"))
    options += ("--tls-key-file", str(tmp_path / "mine.key"), "--tls-auth-clients", "no", *VOLATILE)
    server = Server(binary, tmp_path / "redis", options, plain_port)

    async def ask(authority: str) -> list[object]:
        wire = Wire(f"rediss://127.0.0.1:{port}/2?ssl_ca_certs={tmp_path / authority}", 5)
        try:
            return await wire.exchange([("ECHO", "sealed")])
        finally:
            wire.close()

    try:
        assert asyncio.run(ask("mine.crt")) == [b"sealed"]
        with pytest.raises(raw.ConnectionError):
            asyncio.run(ask("other.crt"))
    finally:
        server.stop()
