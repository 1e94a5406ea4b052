"""HAProxy stays, whatever dies, and goes when Ray goes."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from deployments.local.ray_environment import haproxy_binary
from deployments.proxy.admin_socket import ask as ask_admin
from deployments.proxy.admin_socket import process_id
from deployments.proxy.keeper import END_S, ORDERLY_S
from deployments.proxy.newcomers import TAKEN_S
from tests.deployments.proxy.front import SPREAD_S, Front, Launched, wait_for
from tests.deployments.proxy.small_replica import Replica
from tests.load import Ask, Load

pytestmark = pytest.mark.skipif(haproxy_binary() is None, reason="there is no HAProxy for this platform")


def page(client: int, number: int) -> Ask:
    """What the small replica answers."""
    return Ask("")


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def answers(proxy: Front) -> bool:
    try:
        return httpx.get(proxy.url).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def proxy(front: Callable[..., Front], replica: Replica) -> Front:
    proxy = front()
    proxy.write({"console": [replica.port]})
    return proxy


def test_ray_finds_its_own_process_on_the_admin_socket_and_nobody_else_does(proxy: Front) -> None:
    launched = proxy.start()
    assert process_id(proxy.socket) == launched.guard != launched.haproxy()
    assert b"http-console,BACKEND" in (stat := ask_admin(proxy.socket, b"show stat\n"))
    assert b"unavailable," not in stat  # Ray asked for no such server.
    sockets = [path for path in proxy.folder.iterdir() if path.is_socket()]
    assert len(sockets) == 3
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in sockets)


def test_haproxy_that_is_killed_is_back_within_two_seconds_each_time(proxy: Front) -> None:
    launched = proxy.start()
    for _ in range(3):
        before = launched.haproxy()
        started = time.monotonic()
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: answers(proxy), proxy.log)
        took_s = time.monotonic() - started
        assert took_s < 2, proxy.log.read_text()
        launched.wait_until_up()
        assert launched.haproxy() != before


def test_who_kills_all_that_is_called_haproxy_leaves_what_starts_it_again(proxy: Front) -> None:
    launched = proxy.start()
    keeper = psutil.Process(launched.keeper())
    called = [psutil.Process(pid) for pid in (launched.guard, launched.haproxy())]
    assert ["haproxy" in " ".join(process.cmdline()) for process in (*called, keeper)] == [True, True, False]
    assert str(proxy.folder) in keeper.cmdline()[0]
    started = time.monotonic()
    for process in called:
        process.kill()
    wait_for(lambda: answers(proxy), proxy.log)
    assert time.monotonic() - started < 2
    assert process_id(proxy.socket) is None  # by which Ray finds out


def test_a_killed_keeper_is_replaced(proxy: Front) -> None:
    launched = proxy.start()
    keeper, haproxy = launched.keeper(), launched.haproxy()
    os.kill(keeper, signal.SIGKILL)
    wait_for(lambda: gone(haproxy) and process_id(proxy.socket) == launched.guard, proxy.log)
    assert answers(proxy)
    assert launched.keeper() != keeper


def test_reloads_fail_no_request_and_leave_one_haproxy(proxy: Front, replica: Replica) -> None:
    first = proxy.start()
    with Load(proxy.url, page, clients=1, keep_alive=False) as load:
        load.goes_on()
        for applications in (("console", "recommend"), ("console",)):
            proxy.write({name: [replica.port] for name in applications})
            second = proxy.start()
            load.goes_on()
            wait_for(lambda ended=first: gone(ended.guard), proxy.log)  # type: ignore[misc]
            first = second
    assert load.failures == []


@pytest.mark.parametrize("killed", ["guard", "manager"])
def test_haproxy_goes_on_without_guard_or_manager_until_the_next_one(proxy: Front, killed: str) -> None:
    first = proxy.start()
    haproxy = first.haproxy()
    with Load(proxy.url, page, clients=1, keep_alive=False) as load:
        load.goes_on()
        os.kill(getattr(first, killed), signal.SIGKILL)
        if killed == "guard":
            wait_for(lambda: process_id(proxy.socket) is None, proxy.log)  # by which Ray finds out
            noticed_at = time.monotonic()  # or before
            wait_for(lambda: time.monotonic() > noticed_at + ORDERLY_S)
            os.kill(first.manager, signal.SIGKILL)  # which Ray does then
        load.goes_on()
        # The next manager starts without knowing an application, and gets to know them then.
        applications = proxy.config.read_text()
        proxy.write({})
        proxy.start(first=True)
        load.goes_on()
        wait_for(lambda: gone(haproxy), proxy.log)
        load.goes_on()
        proxy.config.write_text(applications)
        proxy.start()
        load.goes_on()
    assert load.failures == []


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


def ended_by_signal(launched: Launched) -> None:
    os.kill(launched.guard, signal.SIGTERM)


def ended_with_ray(launched: Launched) -> None:
    os.kill(launched.ray, signal.SIGKILL)


def ended_with_all_its_keepers(launched: Launched) -> None:
    for pid in (launched.guard, launched.keeper()):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("end", [ended_by_signal, ended_with_ray, ended_with_all_its_keepers])
def test_haproxy_does_not_outlive(proxy: Front, end: Callable[[Launched], None]) -> None:
    launched = proxy.start()
    keeper, haproxy = launched.keeper(), launched.haproxy()
    end(launched)
    wait_for(lambda: gone(haproxy) and gone(keeper), proxy.log)
    assert not answers(proxy)


def reloaded(launched: Launched) -> None:
    launched.front.start()


def ended_with_all_of_ray(launched: Launched) -> None:
    """As the stack does with what is left of Ray's processes."""
    for pid in (launched.guard, launched.keeper(), launched.haproxy()):
        os.kill(pid, signal.SIGTERM)


def ended_as_serve_does(launched: Launched) -> None:
    for pid in (launched.guard, launched.manager):
        os.kill(pid, signal.SIGKILL)


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


def told_to_stop(haproxy: int) -> bool:
    status = dict(line.split(":\t") for line in Path(f"/proc/{haproxy}/status").read_text().splitlines())
    return bool(int(status["ShdPnd"], 16) >> (signal.SIGUSR1 - 1) & 1)


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
        wait_for(lambda: told_to_stop(haproxy) or time.monotonic() > asked + TAKEN_S / 2)
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


def test_a_template_that_is_not_known_is_served_as_it_is_and_the_log_says_so(proxy: Front) -> None:
    text = proxy.config.read_text()
    proxy.config.write_text(
        text.replace("backend default_backend", "backend elsewhere").replace(
            "default_backend default_backend", "default_backend elsewhere"
        )
    )
    proxy.start()
    assert answers(proxy)
    assert "Ray's configuration is used as it is, without our limits and answers" in proxy.log.read_text()
    assert "backend default_backend" in proxy.log.read_text()


def test_what_haproxy_refuses_of_ours_is_served_as_ray_has_it(proxy: Front) -> None:
    proxy.launch({"RAYCOMMEND_PROXY_QUEUE_S": "1e30"}).wait_until_up()
    assert answers(proxy)
    assert "HAProxy does not take this configuration" in proxy.log.read_text()


def test_a_configuration_that_cannot_work_ends_the_launcher_with_haproxys_words(proxy: Front) -> None:
    proxy.config.write_text(proxy.config.read_text() + "no such section\n")
    launched = proxy.launch()
    wait_for(lambda: gone(launched.guard), proxy.log)
    assert "unknown keyword" in proxy.log.read_text()


def test_as_many_connections_as_the_process_may_open_files(proxy: Front) -> None:
    environment = {**os.environ, "HAPROXY_BINARY": haproxy_binary() or "", "RAYCOMMEND_PROXY_CONNECTIONS": "8000"}
    code = (
        "import resource, json; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 2400));"
        "from configs.groups.proxy import Proxy; from deployments.proxy.keeper import _fitting;"
        "limits = _fitting(Proxy()); print(json.dumps([limits.connections, limits.connections_per_source]))"
    )
    done = subprocess.run(["python", "-c", code], capture_output=True, text=True, check=True, env=environment)
    connections, per_source = json.loads(done.stdout)
    assert 0 < per_source < connections <= 800
    assert "only 800 connections instead of 8000" in done.stderr
