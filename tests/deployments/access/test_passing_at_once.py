"""What the gate lets through with one look is what it lets through with care."""

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from deployments.access.caller import CALLER, CURRENT
from deployments.http.api_keys import make_key
from deployments.http.unread_bodies import BUFFERED_BYTES
from tests.deployments.access.gates import keyed, keyless

pytestmark = pytest.mark.anyio
LARGE = b"%d" % (BUFFERED_BYTES + 1)


async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers before it reads; it names who it believes asks."""
    who = f"{scope.get(CALLER)} {CURRENT.get()}".encode()
    await send({"type": "http.response.start", "status": 413, "headers": [(b"who", who)]})
    await send({"type": "http.response.body", "body": b"{}"})


async def ask(gate: Any, *headers: tuple[bytes, bytes]) -> tuple[int, dict[bytes, bytes]]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"a part", "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/v1/events", "headers": list(headers)}
    await gate(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize(
    ("header", "closed"),
    [
        ((b"content-length", b"20"), False),
        ((b"content-length", b"%d" % BUFFERED_BYTES), False),
        ((b"content-length", LARGE), True),
        ((b"content-length", b"9" * 30), True),
        ((b"content-length", b"-1"), True),
        ((b"transfer-encoding", b"chunked"), True),
    ],
)
@pytest.mark.parametrize("before", [True, False], ids=["length first", "key first"])
async def test_a_large_body_that_nobody_read_loses_its_connection(
    header: tuple[bytes, bytes], closed: bool, before: bool
) -> None:
    key, record = make_key("shop", ["events"], 1000)
    counted: list[int] = []

    async def count(name: str, number: int) -> int:
        counted.append(number)
        return sum(counted)

    gate = keyed(refuses, [record], count)
    login = (b"authorization", f"Bearer {key}".encode())
    for _ in range(3):  # the first time the key is looked for, and then it is known
        status, headers = await ask(gate, *((header, login) if before else (login, header)))
        assert (status, headers[b"who"]) == (413, b"key shop key shop")
        assert (headers.get(b"connection") == b"close") == closed
    # Each request was counted once: ten at a time are taken of the store's count.
    assert counted == [10]


@pytest.mark.parametrize(
    ("headers", "status", "closed"),
    [
        ([(b"host", b"localhost:8000"), (b"content-length", b"20")], 413, False),
        ([(b"host", b"127.0.0.1")], 413, False),
        ([], 413, False),
        ([(b"host", b"localhost"), (b"content-length", LARGE)], 413, True),
        ([(b"transfer-encoding", b"chunked"), (b"host", b"localhost")], 413, True),
        ([(b"host", b"shop.example")], 403, False),
        ([(b"host", b"localhost"), (b"host", b"shop.example")], 403, False),
        ([(b"host", b"localhost"), (b"origin", b"http://shop.example")], 403, False),
        ([(b"host", b"localhost"), (b"origin", b"http://localhost")], 413, False),
        ([(b"sec-fetch-site", b"cross-site"), (b"host", b"localhost")], 403, False),
    ],
)
async def test_without_keys_this_machine_alone_passes(
    headers: list[tuple[bytes, bytes]], status: int, closed: bool
) -> None:
    gate = keyless(refuses)
    for _ in range(3):  # the first time the host is looked at, and then it is known
        found, answered = await ask(gate, *headers)
        assert (found, answered.get(b"connection") == b"close") == (status, closed)


async def test_of_two_logins_the_first_counts_however_it_passes() -> None:
    key, record = make_key("shop", ["events"], None)
    gate = keyed(refuses, [record])
    good, bad = (b"authorization", f"Bearer {key}".encode()), (b"authorization", b"Bearer rk_guessed")
    for _ in range(2):
        assert (await ask(gate, good, bad))[0] == 413
        assert (await ask(gate, bad, good))[0] == 401
        assert (await ask(gate, (b"authorization", b""), good))[0] == 401
