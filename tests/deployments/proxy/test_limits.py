"""Clients that hold connections, and clients that come in crowds, leave room for the others."""

import asyncio
import contextlib
import json
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import pytest

from deployments.local.ray_environment import haproxy_binary
from deployments.proxy.admin_socket import ask
from tests.deployments.proxy.front import Front, error_of, wait_for
from tests.deployments.proxy.small_replica import Replica

pytestmark = pytest.mark.skipif(haproxy_binary() is None, reason="there is no HAProxy for this platform")
HEAD = b"POST /api/v1/recommend HTTP/1.1\r\nhost: localhost\r\n"
SLOW = 4200
NEEDED_FILES = 3 * SLOW


@pytest.fixture
def many_files() -> Iterator[None]:
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < NEEDED_FILES:
        pytest.skip(f"this process may open {most} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, NEEDED_FILES), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


@contextlib.contextmanager
def held(port: int, halves: list[bytes]) -> Iterator[list[socket.socket]]:
    """One connection for each half of a request."""
    with contextlib.ExitStack() as stack:
        connections = []
        for half in halves:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            connection.sendall(half)
            connections.append(connection)
        yield connections


def sessions(proxy: Front) -> int:
    text = httpx.get(f"{proxy.operators_url}/metrics", timeout=20).text
    line = next(
        each for each in text.splitlines() if each.startswith('haproxy_frontend_current_sessions{proxy="http_fr')
    )
    return int(line.split()[-1])


@pytest.mark.usefixtures("many_files")
def test_thousands_of_half_requests_leave_the_others_answered(front: Callable[..., Front], replica: Replica) -> None:
    proxy = front(request_s=8)
    proxy.write({"console": [replica.port], "recommend": [replica.port]})
    proxy.start()
    dripping = HEAD + b"content-length: 100\r\n\r\n{"
    halves = [HEAD + b"x-half: ", HEAD + b"content-length: 100\r\n\r\n", dripping]
    with held(proxy.ports["http"], [halves[number % 3] for number in range(SLOW)]) as connections:
        for connection in connections[2::3]:
            connection.sendall(b"x")
        wait_for(lambda: sessions(proxy) >= SLOW, proxy.log)
        new_each_time = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(timeout=2, limits=new_each_time) as client:
            for _ in range(100):
                assert client.post(f"{proxy.url}/api/v1/recommend", content=b"{}").status_code == 200
            for url in (proxy.url, proxy.operators_url):
                assert client.get(f"{url}/health/live").status_code == 200
        assert not any("x-half" in head or "content-length: 100\r" in head for head in replica.heads)
        # None is held for longer than the deadline, whatever drips.
        wait_for(lambda: sessions(proxy) < 10, proxy.log, 30)
        assert connections[1].recv(100).startswith(b"HTTP/1.1 408 ")


def test_one_source_gets_no_more_connections_than_its_share(front: Callable[..., Front], replica: Replica) -> None:
    proxy = front(connections=60, connections_per_source=40)
    proxy.write({"console": [replica.port]})
    proxy.start()
    with held(proxy.ports["http"], [HEAD] * 40):
        wait_for(lambda: sessions(proxy) >= 40, proxy.log)
        with pytest.raises(httpx.HTTPError):
            httpx.get(proxy.url, timeout=5)
        transport = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=transport, timeout=5) as another:
            assert another.get(proxy.url).status_code == 200


def test_health_answers_where_clients_take_every_connection(front: Callable[..., Front], replica: Replica) -> None:
    proxy = front(connections=40, connections_per_source=40)
    proxy.write({"console": [replica.port]})
    proxy.start()
    with held(proxy.ports["http"], [HEAD] * 40):
        wait_for(lambda: sessions(proxy) >= 40, proxy.log)
        for path in ("/health", "/health/live", "/health/ready", "/metrics"):
            assert httpx.get(proxy.operators_url + path, timeout=5).status_code == 200


def test_large_bodies_that_drip_leave_room_for_small_ones(front: Callable[..., Front], replica: Replica) -> None:
    proxy = front(in_flight=8, large_bodies=4)
    proxy.write({"events": [replica.port]})
    proxy.start()
    large = HEAD.replace(b"recommend", b"events") + b"content-length: 60000\r\n\r\n" + b"x" * 30_000
    with held(proxy.ports["http"], [large] * 4):
        wait_for(lambda: replica.in_flight == 4, proxy.log)
        for _ in range(20):
            assert httpx.post(f"{proxy.url}/api/v1/events", content=b"{}", timeout=5).status_code == 200
        one_more = httpx.post(f"{proxy.url}/api/v1/events", content=b"x" * 60_000, timeout=5)
        assert (one_more.status_code, error_of(one_more)) == (503, "overloaded")
        chunked = httpx.post(f"{proxy.url}/api/v1/events", content=iter([b"{}"]), timeout=5)
        assert (chunked.status_code, error_of(chunked)) == (503, "overloaded")


async def crowd(port: int, clients: int, seconds: float) -> tuple[Counter[int], list[float]]:
    """Clients that ask again as soon as they have an answer: statuses, and seconds of each answer of 200."""
    ends = time.monotonic() + seconds
    statuses: Counter[int] = Counter()
    taken: list[float] = []

    async def ask() -> None:
        while time.monotonic() < ends:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            started = time.monotonic()
            writer.write(b"GET /?seconds=0.05 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            head, _, content = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            status = int(head.split()[1])
            statuses[status] += 1
            if status == 200:
                taken.append(time.monotonic() - started)
            else:
                assert b"retry-after: 1" in head
                assert json.loads(content)["error"]["code"] in ("overloaded", "unavailable")

    await asyncio.gather(*(ask() for _ in range(clients)))
    return statuses, taken


def test_a_crowd_that_retries_at_once_is_turned_away_before_the_replica(
    front: Callable[..., Front], replica: Replica
) -> None:
    """The replica never works on more than its share, and who waits in vain is told so after a bounded time."""
    proxy = front(in_flight=8, queue=20, queue_s=0.1)
    proxy.write({"console": [replica.port]})
    proxy.start()
    statuses, taken = asyncio.run(crowd(proxy.ports["http"], clients=150, seconds=3))
    assert replica.most_in_flight == 8
    assert set(statuses) == {200, 503}
    # Each of 150 clients asks at most once in the time that a refusal takes: they cannot keep the machine busy.
    assert statuses[503] < 150 * (3 / 0.1 + 1)
    # 8 at a time, 0.05 s each: 160 a second are possible.
    assert statuses[200] > 160
    assert replica.answered == statuses[200]
    # Waited for the place, and then for the answer.
    assert sorted(taken)[len(taken) // 2] < 1


def test_who_finds_the_queue_full_waits_a_second_for_its_refusal(front: Callable[..., Front], replica: Replica) -> None:
    proxy = front(in_flight=1, queue=1, queue_s=10)
    proxy.write({"console": [replica.port]})
    proxy.start()
    slow = [threading.Thread(target=httpx.get, args=(f"{proxy.url}/?seconds=1.5",)) for _ in range(2)]
    for thread in slow:
        thread.start()
    wait_for(lambda: b"http-console,BACKEND,1," in ask(proxy.socket, b"show stat\n"), proxy.log)
    started = time.monotonic()
    refused = httpx.get(proxy.url, timeout=10)
    assert time.monotonic() - started >= 0.9
    assert (refused.status_code, error_of(refused)) == (503, "overloaded")
    for thread in slow:
        thread.join()
