"""Requests that no client of good will sends, over raw sockets, through the whole stack.

None of them is answered with 5xx, none reaches another address than it names, and no file outside of the folders that
are served comes out.
"""

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import RunningStack

pytestmark = pytest.mark.stack
PATIENCE_S = 10.0
JSON = b"Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def port(stack: RunningStack) -> int:
    return stack.settings.ports.http


@pytest.fixture(autouse=True)
def still_well(stack: RunningStack) -> Iterator[None]:
    """After each attack the functions answer as before."""
    yield
    with httpx.Client(base_url=stack.url, timeout=PATIENCE_S) as api:
        assert api.get("/health/live").json() == {"status": "ok"}
        assert (
            len(api.post("/api/v1/recommend", json={"user_id": "1", "preview": True}).json()["recommendations"]) == 10
        )


def answers(port: int, request: bytes) -> list[int]:
    """The statuses of all answers to what is sent, until the server closes or has nothing more to say."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.settimeout(2.0)
        try:
            connection.sendall(request)
            while chunk := connection.recv(65536):
                received += chunk
        except (TimeoutError, ConnectionError):
            pass  # it was hung up on, or left to wait; what came until then counts
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def post(path: bytes, body: bytes, more: bytes = b"") -> bytes:
    head = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + JSON + more
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def get(path: bytes, more: bytes = b"", host: bytes = b"localhost") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n" + more + b"\r\n"


BODIES = {
    "brackets": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "a nested field": b'{"user_id": 1, "context": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a huge number": b'{"user_id": 1, "top_k": ' + b"9" * 10_000 + b"}",
    "a huge exponent": b'{"user_id": 1, "diversity": 1e999999}',
    "NaN": b'{"user_id": 1, "diversity": NaN}',
    "a key twice": b'{"user_id": 1, "user_id": 2}',
    "half an emoji": b'{"user_id": "\\ud83d"}',
    "bytes that are no text": b'{"user_id": "\xff\xfe\x80"}',
    "NUL": b'{"user_id": "a\\u0000b"}',
    "a line break": b'{"user_id": "a\\nb"}',
    "turned text": '{"user_id": "\u202eabc\u2066"}'.encode(),
    "another encoding": '{"user_id": 1}'.encode("utf-16"),
    "a mark in front": b'\xef\xbb\xbf{"user_id": 1}',
    "a long key": b'{"' + b"k" * 60_000 + b'": 1}',
    "nothing": b"",
    "spaces": b" " * 1000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_odd_bodies_are_refused_or_served_and_never_break_anything(port: int, body: bytes) -> None:
    for path in (b"/api/v1/recommend", b"/api/v1/events", b"/api/v1/events/batch", b"/api/v1/experiments"):
        [status] = answers(port, post(path, body))
        assert status in (200, 413, 422), path


HEADS = {
    "1,000 headers": get(b"/health/live", b"".join(b"X-%d: a\r\n" % n for n in range(1000))),
    "64 KB in one header": get(b"/health/live", b"X-Long: " + b"a" * 65536 + b"\r\n"),
    "a continued line": get(b"/health/live", b"X-A: b\r\n continued\r\n"),
    "NUL in a header": get(b"/health/live", b"X-A: a\0b\r\n"),
    "no colon": get(b"/health/live", b"nonsense\r\n"),
    "a space before the colon": get(b"/health/live", b"X-A : b\r\n"),
    "a bare CR": get(b"/health/live", b"X-A: a\rX-B: b\r\n"),
    "an address of 100 KB": get(b"/" + b"a" * 100_000),
    "no host": b"GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n",
    "two hosts": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "binary": bytes(range(256)) * 4,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
def test_odd_heads_are_refused_or_ignored(port: int, head: bytes) -> None:
    statuses = answers(port, head)
    assert len(statuses) <= 1
    assert all(status < 500 for status in statuses), statuses


LENGTHS = {
    "two lengths": b"Content-Length: 2\r\nContent-Length: 70\r\n\r\n{}",
    "both kinds": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a hidden kind": b"Content-Length: 4\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "an odd kind": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two kinds": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a signed length": b"Content-Length: +2\r\n\r\n{}",
    "a negative length": b"Content-Length: -2\r\n\r\n{}",
    "a huge length": b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "a bad chunk size": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a negative chunk": b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
    "a huge chunk": b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n{}\r\n0\r\n\r\n",
    "a chunk that is longer": b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("rest", LENGTHS.values(), ids=LENGTHS.keys())
def test_no_second_request_hides_behind_an_unclear_length(port: int, rest: bytes) -> None:
    """Behind each stands a request whose answer, 404, would show that somebody took it for one of its own."""
    head = b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\n" + JSON
    hidden = b"GET /hidden-request HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    statuses = answers(port, head + rest + hidden)
    if rest == LENGTHS["both kinds"]:  # a proxy may take the chunks, as RFC 9112 says, and then the second is plain
        assert statuses in ([400], [422], [422, 404])
    else:
        assert all(400 <= status < 500 for status in statuses), statuses
        assert 404 not in statuses


PATHS = [
    b"/console/../console.py",
    b"/console/%2e%2e/console.py",
    b"/console/..%2fconsole.py",
    b"/console/%2e%2e%2f%2e%2e%2fapps.py",
    b"/console/....//console.py",
    b"/console/..\\console.py",
    b"/console/%00",
    b"/console//etc/passwd",
    b"/console/index.html%00.js",
    b"/static/docs/../../../../etc/passwd",
    b"/static/docs/%2e%2e/%2e%2e/__init__.py",
    b"/static/docs/..%2f..%2f__init__.py",
    b"/static/docs//etc/passwd",
    b"/api/v1/../v1/models",
    b"/api/v1/%2e%2e/health",
    b"//health",
    b"/./health",
    b"/health/.",
    b"/health%00",
    b"/health%0a",
    b"/api/v1/models%20",
    b"/api/v1/models;a=b",
    b"/HEALTH",
    b"/api/v1/recommend/../models",
    b"/api/v1/events/%2e%2e/models",
    b"/api/v1/users/%2e%2e/models",
    b"/%ff%fe",
    b"/%",
    b"/%zz",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_to_another_address_or_out_of_a_folder(port: int, path: bytes) -> None:
    [status] = answers(port, get(path))
    assert status in (400, 404, 405, 422)


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"http://localhost/health/live", b"localhost", 200),
        (b"http://evil.example/health/live", b"evil.example", 403),
        (b"*", b"localhost", 400),
        (b"health/live", b"localhost", 400),
        (b"localhost:80", b"localhost", 400),
    ],
)
def test_targets_of_other_forms_name_what_they_say_or_nothing(
    port: int, target: bytes, host: bytes, status: int
) -> None:
    found = answers(port, get(target, host=host))
    assert found in ([status], [404], [])


def test_a_pickle_in_a_body_is_text_that_is_no_json(port: int) -> None:
    pickled = b"cposix\nsystem\n(S'touch /tmp/raycommend-it-ran'\ntR."
    for path in (b"/api/v1/recommend", b"/api/v1/events", b"/api/v1/events/batch"):
        assert answers(port, post(path, pickled)) == [422]
        head = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        kind = b"Content-Type: application/x-python-serialize\r\nContent-Length: %d\r\n\r\n" % len(pickled)
        assert answers(port, head + kind + pickled) == [415]


def test_what_is_said_of_an_odd_body_is_json_itself(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(post(b"/api/v1/events", BODIES["half an emoji"]))
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_field"
