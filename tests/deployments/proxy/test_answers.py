"""What the proxy answers by itself: one form, whatever the cause, and 503 for all that passes."""

import json
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from deployments.local.ray_environment import haproxy_binary
from deployments.proxy.admin_socket import ask as ask_admin
from tests.deployments.proxy.front import Front, error_of, wait_for
from tests.deployments.proxy.small_replica import Replica

pytestmark = pytest.mark.skipif(haproxy_binary() is None, reason="there is no HAProxy for this platform")
PATHS = ("/", "/health", "/nothing", "/api/v1/recommend", "/api/v1/events/batch")
WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def raw(front: Front, text: bytes, seconds: float = 10) -> tuple[httpx.Response, bool]:
    """What comes back to bytes, and whether the proxy has closed the connection after it."""
    with socket.create_connection(("127.0.0.1", front.ports["http"]), timeout=seconds) as connection:
        connection.sendall(text)
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65_536)
        head, _, content = received.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        while len(content) < int(headers["content-length"]):
            content += connection.recv(65_536)
        connection.settimeout(0.5)
        try:
            closed = connection.recv(1) == b""
        except TimeoutError:
            closed = False
    return httpx.Response(int(lines[0].split()[1]), headers=headers, content=content), closed


def test_what_is_not_there_yet_is_temporary(front: Callable[..., Front]) -> None:
    proxy = front()
    proxy.write({})
    proxy.start()
    for path in PATHS:
        answer = httpx.get(proxy.url + path)
        assert (answer.status_code, error_of(answer)) == (503, "not_ready"), path
    answer = httpx.get(f"{proxy.url}/-/healthz")
    assert (answer.status_code, error_of(answer)) == (503, "not_ready")
    assert error_of(httpx.get(f"{proxy.url}/-/routes")) == "not_found"


def test_without_a_replica_each_application_is_unavailable(front: Callable[..., Front]) -> None:
    proxy = front()
    proxy.write({name: [1] for name in ("console", "recommend", "events")}, fallback=1)
    proxy.start()
    for path in PATHS:
        answer = httpx.post(proxy.url + path, content=b"{}")
        assert (answer.status_code, error_of(answer)) == (503, "unavailable"), path


@pytest.mark.parametrize(
    ("status", "passed_on", "code"),
    [
        (404, 503, "not_ready"),
        (408, 408, "request_timeout"),
        (500, 500, "internal_error"),
        (503, 503, "unavailable"),
        (504, 504, "deadline_exceeded"),
    ],
)
def test_errors_in_text_are_serves_own_and_get_our_form(
    front: Callable[..., Front], replica: Replica, status: int, passed_on: int, code: str
) -> None:
    """Among them "Path not found" of Ray's own proxy, which answers while the last replica ends."""
    proxy = front()
    proxy.write({"console": [1]}, fallback=replica.port)
    proxy.start()
    asked = {"status": status, "type": "text/plain; charset=utf-8", "text": "Path '/' not found."}
    wait_for(lambda: httpx.get(proxy.url).status_code == 200, proxy.log)
    answer = httpx.get(proxy.url, params=asked)
    assert (answer.status_code, error_of(answer)) == (passed_on, code)


def test_what_the_applications_say_is_passed_on_as_it_is(front: Callable[..., Front], replica: Replica) -> None:
    proxy = front()
    proxy.write({"console": [replica.port]})
    proxy.start()
    own = '{"error": {"code": "unknown_item", "message": "there is no item 7"}}'
    for status, kind, text in (
        (404, "application/json", own),
        (503, "application/json", own),
        (200, "text/plain", "a 1"),
    ):
        answer = httpx.get(proxy.url, params={"status": status, "type": kind, "text": text})
        assert (answer.status_code, answer.headers["content-type"], answer.text) == (status, kind, text)


def test_a_replica_that_is_silent_or_broken(front: Callable[..., Front], replica: Replica) -> None:
    proxy = front(answer_s=0.3)
    proxy.write({"console": [replica.port]})
    proxy.start()
    late = httpx.get(proxy.url, params={"seconds": 2})
    assert (late.status_code, error_of(late)) == (504, "deadline_exceeded")
    broken = httpx.get(proxy.url, params={"broken": 1})
    assert (broken.status_code, error_of(broken)) == (502, "bad_gateway")


def test_a_websocket_is_refused_and_closed_on_any_route(front: Callable[..., Front], replica: Replica) -> None:
    proxy = front()
    proxy.write({"console": [replica.port], "recommend": [replica.port]})
    proxy.start()
    for path in (b"/", b"/api/v1/recommend", b"/nothing"):
        answer, closed = raw(proxy, b"GET " + path + b" HTTP/1.1\r\nhost: localhost\r\n" + WEBSOCKET + b"\r\n")
        assert (answer.status_code, error_of(answer)) == (404, "not_found")
        assert closed
    assert replica.heads == []


def test_another_offer_to_upgrade_is_passed_over(front: Callable[..., Front], replica: Replica) -> None:
    proxy = front()
    proxy.write({"console": [replica.port]})
    proxy.start()
    answer = httpx.get(proxy.url, headers={"connection": "upgrade, http2-settings", "upgrade": "h2c"})
    assert answer.status_code == 200
    assert "upgrade" not in replica.heads[0].lower()


def test_a_body_that_does_not_come_is_answered_within_the_deadline(
    front: Callable[..., Front], replica: Replica
) -> None:
    proxy = front(request_s=0.5)
    proxy.write({"events": [replica.port]})
    proxy.start()
    head = b"POST /api/v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n"
    for sent in (head, head + b"{"):
        started = time.monotonic()
        answer, closed = raw(proxy, sent)
        assert (answer.status_code, error_of(answer), closed) == (408, "request_timeout", True)
        assert time.monotonic() - started < 5
    assert replica.heads == []


def test_who_is_refused_before_a_large_body_was_read_is_told_that_the_connection_ends(
    front: Callable[..., Front], replica: Replica
) -> None:
    """Regression: the proxy did not say so, and now and then a client lost its next request on that connection."""
    proxy = front()
    proxy.write({"console": [replica.port]})
    proxy.start()
    refused = {"status": 413, "unread": 1}
    with httpx.Client(base_url=proxy.url) as client:
        for size, params, said in (
            (1_000_000, refused, "close"), (1_000_000, {}, None), (1_000, {"status": 422}, None),
        ):  # fmt: skip
            answer = client.post("/", params=params, content=bytes(size))
            assert (answer.status_code, answer.headers.get("connection")) == (params.get("status", 200), said)
            assert client.get("/").status_code == 200


def test_health_and_metrics_answer_on_the_operators_port(front: Callable[..., Front], replica: Replica) -> None:
    proxy = front()
    proxy.write({"console": [replica.port]})
    proxy.start()
    for path in ("/health", "/health/live", "/health/ready"):
        assert httpx.get(proxy.operators_url + path, params={"text": json.dumps(path)}).json() == path
    assert "haproxy_frontend_current_sessions" in httpx.get(f"{proxy.operators_url}/metrics").text
    other = httpx.get(f"{proxy.operators_url}/api/v1/trending")
    assert (other.status_code, error_of(other)) == (404, "not_found")


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize(("replicas", "own"), [(1, False), (0, True), (1, True), (2, True)])
def test_what_dies_with_requests_leaves_answers_on_connections_that_are_kept(
    front: Callable[..., Front],
    mortal: Callable[[int], tuple[subprocess.Popen[str], list[int]]],
    count: int,
    replicas: int,
    own: bool,
) -> None:
    """Where all die at once, and Ray's own proxy with them where there is one: as Ray ends. HAProxy closes a connection
    without a word where its request went by a connection that was used before and all tries fail."""
    proxy = front()
    process, ports = mortal(replicas + own)
    proxy.write({"console": ports[:replicas]}, fallback=ports[-1] if own else None)
    proxy.start()
    with ExitStack() as kept:
        clients = [kept.enter_context(httpx.Client(base_url=proxy.url, timeout=20)) for _ in range(count)]
        threads = kept.enter_context(ThreadPoolExecutor(len(clients)))
        for _ in range(2):
            warm = list(threads.map(lambda client: client.get("/?seconds=0.2"), clients))
            assert {answer.status_code for answer in warm} == {200}
        asked = [threads.submit(client.get, "/?seconds=20") for client in clients]
        stat = b"http-console,BACKEND,0,0,%d," % count
        wait_for(lambda: stat in ask_admin(proxy.socket, b"show stat\n"), proxy.log)
        process.terminate()
        answers = [each.result() for each in asked]
    assert {(answer.status_code, error_of(answer)) for answer in answers} == {(503, "unavailable")}
    wait_for(lambda: error_of(httpx.get(f"{proxy.url}/-/healthz")) == "not_ready", proxy.log)


def test_more_headers_than_allowed_are_refused_in_the_one_form(front: Callable[..., Front], replica: Replica) -> None:
    proxy = front()
    proxy.write({"console": [replica.port]})
    proxy.start()
    for count, status in ((90, 200), (101, 400), (1000, 400)):
        headers = b"".join(b"a:b\r\n" for _ in range(count))
        answer, _ = raw(proxy, b"GET / HTTP/1.1\r\nhost: localhost\r\n" + headers + b"\r\n")
        assert answer.status_code == status, count
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("line", [b"FOO / HTTP/1.1", b"TRACE / HTTP/1.1", b"CONNECT 127.0.0.1:80 HTTP/1.1"])
def test_a_method_that_is_none_here_is_refused_in_the_one_form(
    front: Callable[..., Front], replica: Replica, line: bytes
) -> None:
    proxy = front()
    proxy.write({"console": [replica.port]})
    proxy.start()
    answer, _ = raw(proxy, line + b"\r\nhost: 127.0.0.1\r\n\r\n")
    assert (answer.status_code, error_of(answer)) == (405, "method_not_allowed")
    assert "get" in answer.headers["allow"]


def test_the_list_of_routes_is_not_shown(front: Callable[..., Front], replica: Replica) -> None:
    proxy = front()
    proxy.write({"console": [replica.port]})
    proxy.start()
    wait_for(lambda: httpx.get(f"{proxy.url}/-/healthz").status_code == 200, proxy.log)
    answer = httpx.get(f"{proxy.url}/-/routes", headers={"host": "evil.example"})
    assert (answer.status_code, error_of(answer)) == (404, "not_found")
