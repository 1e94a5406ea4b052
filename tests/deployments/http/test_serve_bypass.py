"""What is answered in front of Serve, and how it leaves: on a real uvicorn, as Serve runs one."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from deployments.http import serve_bypass as ingress

BODY = b"x" * 300


async def serve(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for Serve's own handling, which names the request itself."""
    if scope["path"] == "/none":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    if scope["path"] == "/died":
        return
    headers = dict(scope["headers"])
    watched = headers.get(b"x-request-disconnect-disabled", b"?0")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"by", b"serve"), (b"no-watch", watched)]})
    if scope["path"] == "/stream":
        for number in range(3):
            await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
            await asyncio.sleep(0)
    if scope["path"] == "/fails":
        raise RuntimeError("after the head")
    await send({"type": "http.response.body", "body": b""})


async def direct(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(BODY))]})
    await send({"type": "http.response.body", "body": BODY})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(ingress, "_direct", {})
    ingress.answer_directly(["/hot"], direct, lambda scope: (b"traceparent", b"x") in scope["headers"])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            ingress.Ingress(serve), loop="uvloop", http="httptools", lifespan="off", log_level="critical"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(20)


def test_a_registered_path_never_reaches_serve(port: int) -> None:
    answer = httpx.post(f"http://127.0.0.1:{port}/hot", headers={"x-request-id": "mine"})
    assert answer.content == BODY
    assert "by" not in answer.headers
    assert answer.headers["x-request-id"] == "mine"


def test_where_serve_says_nothing_the_proxy_is_told_to_try_again(port: int) -> None:
    """Regression: uvicorn answered 500, and an event was refused because its replica died."""
    answer = httpx.post(f"http://127.0.0.1:{port}/died", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "bad_gateway")
    assert answer.headers["retry-after"] == "1"


def test_a_request_without_an_id_gets_one(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        first, second = (client.post("/hot").headers["x-request-id"] for _ in range(2))
    assert len(first) == len(second) == 32
    assert first != second


def test_of_two_ids_the_first_is_the_clients(port: int) -> None:
    ids = [("x-request-id", "mine"), ("x-request-id", "the proxy's")]
    answer = httpx.post(f"http://127.0.0.1:{port}/hot", headers=ids)
    assert answer.headers.get_list("x-request-id") == ["mine"]


def test_the_rest_goes_to_serve_without_a_watch_for_hang_ups(port: int) -> None:
    other = httpx.get(f"http://127.0.0.1:{port}/other", headers={"x-request-disconnect-disabled": "?0"})
    assert (other.headers["by"], other.headers["no-watch"]) == ("serve", "?1")


def test_what_serve_is_to_see_goes_to_serve(port: int) -> None:
    assert httpx.post(f"http://127.0.0.1:{port}/hot", headers={"traceparent": "x"}).headers["by"] == "serve"


def test_head_and_body_leave_in_one_packet(port: int) -> None:
    request = b"POST /hot HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for _ in range(20):  # kept alive; one look at the socket sees all of an answer, or it came in parts
            connection.sendall(request)
            assert connection.recv(65536).endswith(BODY)


def test_a_stream_comes_chunk_by_chunk(port: int) -> None:
    assert httpx.get(f"http://127.0.0.1:{port}/stream").text == "012"


def test_a_client_that_waits_to_be_told_to_go_on_is_told(port: int) -> None:
    head = b"POST /hot HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert connection.recv(65536).endswith(BODY)


def until_closed(port: int, request: bytes) -> bytes:
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        while chunk := connection.recv(65536):
            received += chunk
    return received


def test_a_head_without_its_body_still_leaves_before_the_end(port: int) -> None:
    assert until_closed(port, b"GET /fails HTTP/1.1\r\nhost: a\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_connection_that_is_to_close_closes_after_the_answer(port: int) -> None:
    request = b"POST /hot HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    assert until_closed(port, request).endswith(BODY)


@pytest.mark.parametrize("path", ["/other", "/hot", "/none"])
def test_an_answer_without_a_body_leaves_too(port: int, path: str) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=3) as client:
        for _ in range(2):  # on one connection, which the first must leave usable
            answer = client.head(path) if path != "/none" else client.get(path)
            assert (answer.status_code, answer.content) == (204 if path == "/none" else 200, b"")


def test_what_serve_is_given_can_be_built() -> None:
    [one] = ingress.middlewares()
    built: Any = one.cls(serve)
    assert isinstance(built, ingress.Ingress)


@pytest.mark.parametrize("path", ["/hot", "/none"])
def test_a_websocket_is_refused_in_json_and_closed(port: int, path: str) -> None:
    offer = (
        f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(offer.encode())
        received = b""
        while part := connection.recv(4096):  # until it is closed
            received += part
    head, _, content = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    assert b"content-type: application/json" in head.lower()
    assert json.loads(content)["error"]["code"] == "not_found"
