"""How HAProxy ends: no request and no connection is lost that it has taken."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from deployments.local.ray_environment import haproxy_binary
from deployments.proxy.admin_socket import ask as ask_admin
from deployments.proxy.ending import END_S
from deployments.proxy.newcomers import TAKEN_S
from tests.deployments.proxy.front import SPREAD_S, Front, Launched, answers, error_of, gone, wait_for

pytestmark = pytest.mark.skipif(haproxy_binary() is None, reason="there is no HAProxy for this platform")


def ended_by_signal(launched: Launched) -> None:
    os.kill(launched.guard, signal.SIGTERM)


def ended_with_ray(launched: Launched) -> None:
    os.kill(launched.ray, signal.SIGKILL)


def ended_with_all_its_keepers(launched: Launched) -> None:
    for pid in (launched.guard, launched.keeper()):
        os.kill(pid, signal.SIGKILL)


def reloaded(launched: Launched) -> None:
    launched.front.start()


def ended_with_all_of_ray(launched: Launched) -> None:
    """As the stack does with what is left of Ray's processes."""
    for pid in (launched.guard, launched.keeper(), launched.haproxy()):
        os.kill(pid, signal.SIGTERM)


def ended_as_serve_does(launched: Launched) -> None:
    for pid in (launched.guard, launched.manager):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("told_before", [False, True])
def test_what_ray_ends_finishes_its_requests_and_ends(proxy: Front, told_before: bool) -> None:
    """Ray kills what it started, and then the manager that started it. Regression: if HAProxy had been told to stop
    before, as by a reload, it was killed then, with its requests."""
    launched = proxy.start()
    keeper = launched.keeper()
    late: list[int] = []
    client = threading.Thread(
        target=lambda: late.append(httpx.get(proxy.url, params={"seconds": 2}, timeout=10).status_code)
    )
    client.start()
    stat = b"http-console,BACKEND,0,0,1,"
    wait_for(lambda: stat in ask_admin(proxy.socket, b"show stat\n"), proxy.log)
    if told_before:
        os.kill(keeper, signal.SIGUSR1)
        wait_for(lambda: not answers(proxy), proxy.log)
    os.kill(launched.guard, signal.SIGKILL)
    os.kill(launched.manager, signal.SIGKILL)
    wait_for(lambda: gone(keeper), proxy.log)
    client.join()
    assert late == [200]
    assert not answers(proxy)


@pytest.mark.parametrize("end", [ended_by_signal, ended_with_ray, ended_with_all_its_keepers])
def test_haproxy_does_not_outlive(proxy: Front, end: Callable[[Launched], None]) -> None:
    launched = proxy.start()
    keeper, haproxy = launched.keeper(), launched.haproxy()
    end(launched)
    wait_for(lambda: gone(haproxy) and gone(keeper), proxy.log)
    assert not answers(proxy)


@pytest.mark.parametrize("end", [reloaded, ended_by_signal, ended_as_serve_does, ended_with_ray, ended_with_all_of_ray])
def test_no_connection_is_closed_without_an_answer(proxy: Front, end: Callable[[Launched], None]) -> None:
    """Neither one on which a request is worked on, nor one on which the first or the next is still to come."""
    launched = proxy.start()
    ask = b"GET /?seconds=%.1f HTTP/1.1\r\nhost: localhost\r\n\r\n"
    address = ("127.0.0.1", proxy.ports["http"])
    with ExitStack() as held:
        waiting, busy = (
            [held.enter_context(socket.create_connection(address, timeout=10)) for _ in range(count)]
            for count in (20, 5)
        )
        for connection in waiting[:10]:
            connection.sendall(ask % 0)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        for connection in busy:
            connection.sendall(ask % 1)
        stat = b"http-console,BACKEND,0,0,5,"
        wait_for(lambda: stat in ask_admin(proxy.socket, b"show stat\n"), proxy.log)
        end(launched)
        asked = time.monotonic()
        wait_for(lambda: time.monotonic() > asked + SPREAD_S * 1.2)
        for connection in waiting:
            connection.sendall(ask % 0)
        heads = [connection.recv(4096).lower() for connection in (*busy, *waiting)]
    assert {head[:13] for head in heads} == {b"http/1.1 200 "}
    assert all(b"connection: close" in head for head in heads[5:])


@pytest.mark.parametrize("end", [ended_by_signal, ended_with_ray, ended_as_serve_does])
def test_who_connected_before_haproxy_stops_listening_is_answered(
    proxy: Front, end: Callable[[Launched], None]
) -> None:
    """Regression: on a busy machine HAProxy had not yet taken these connections, and the kernel reset them."""
    launched = proxy.start()
    haproxy = launched.haproxy()
    os.kill(haproxy, signal.SIGSTOP)  # as a busy machine keeps it waiting for its turn
    with ExitStack() as held:
        address = ("127.0.0.1", proxy.ports["http"])
        waiting = [held.enter_context(socket.create_connection(address, timeout=10)) for _ in range(20)]
        end(launched)
        asked = time.monotonic()
        wait_for(lambda: time.monotonic() > asked + TAKEN_S / 2)
        os.kill(haproxy, signal.SIGCONT)
        for connection in waiting:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert {connection.recv(4096)[:13] for connection in waiting} == {b"HTTP/1.1 200 "}
    wait_for(lambda: gone(haproxy), proxy.log)
    assert not answers(proxy)
    assert "may be reset" not in proxy.log.read_text()


@pytest.mark.parametrize("end", [ended_by_signal, ended_with_ray, ended_with_all_of_ray])
def test_a_request_at_hand_is_waited_for_and_an_idle_connection_is_not(
    proxy: Front, end: Callable[[Launched], None]
) -> None:
    """Regression: after 5 s each request that was still at hand lost its connection, as a slow machine showed."""
    launched = proxy.start()
    haproxy = launched.haproxy()
    late: list[int] = []

    def ask() -> None:
        answer = httpx.get(proxy.url, params={"seconds": END_S + 1.5}, timeout=20)
        late.append(answer.status_code)

    client = threading.Thread(target=ask)
    client.start()
    with socket.create_connection(("127.0.0.1", proxy.ports["http"]), timeout=20) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200 ")
        stat = b"http-console,BACKEND,0,0,1,"
        wait_for(lambda: stat in ask_admin(proxy.socket, b"show stat\n"), proxy.log)
        end(launched)
        client.join()
        assert late == [200], proxy.log.read_text()
        wait_for(lambda: gone(haproxy), proxy.log)
        assert idle.recv(4096) == b""
    assert "lose their connections" not in proxy.log.read_text()


@pytest.mark.parametrize(
    ("end", "own", "reloads"),
    [
        (ended_by_signal, True, 0),
        (ended_as_serve_does, True, 0),
        (ended_with_ray, False, 0),
        (ended_with_all_of_ray, True, 1),
        (ended_as_serve_does, False, 1),
    ],
)
def test_a_request_whose_servers_die_after_the_end_was_asked_is_answered(
    front: Callable[..., Front],
    mortal: Callable[[int], tuple[subprocess.Popen[str], list[int]]],
    end: Callable[[Launched], None],
    own: bool,
    reloads: int,
) -> None:
    """As the stack ends: HAProxy, then Ray's own proxy and what is left of the replicas. Regression: what answers 503
    had stopped with HAProxy's listening sockets, and a request that had a connection which was used before was dropped.
    After a reload it is the HAProxy before that has the request."""
    proxy = front()
    process, ports = mortal(1)
    proxy.write({"console": [] if own else ports}, fallback=ports[0] if own else None)
    launched = proxy.start()
    with ExitStack() as kept:
        clients = [kept.enter_context(httpx.Client(base_url=proxy.url, timeout=20)) for _ in range(4)]
        threads = kept.enter_context(ThreadPoolExecutor(len(clients)))
        for _ in range(2):
            warm = list(threads.map(lambda client: client.get("/?seconds=0.2"), clients))
            assert {answer.status_code for answer in warm} == {200}
        asked = [threads.submit(client.get, "/?seconds=20") for client in clients]
        stat = b"http-console,BACKEND,0,0,4,"
        wait_for(lambda: stat in ask_admin(proxy.socket, b"show stat\n"), proxy.log)
        for _ in range(reloads):
            launched = proxy.start()
        end(launched)
        wait_for(lambda: not answers(proxy), proxy.log)
        process.terminate()
        found = [each.result() for each in asked]
    assert {(answer.status_code, error_of(answer)) for answer in found} == {(503, "unavailable")}
    wait_for(lambda: gone(launched.guard) and not proxy.haproxies(), proxy.log)
