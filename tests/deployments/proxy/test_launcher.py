"""HAProxy stays, whatever dies, and goes when Ray goes."""

import json
import os
import signal
import subprocess
import time

import psutil
import pytest

from deployments.local.ray_environment import haproxy_binary
from deployments.proxy.admin_socket import ask as ask_admin
from deployments.proxy.admin_socket import process_id
from deployments.proxy.keeper import ORDERLY_S
from tests.deployments.proxy.front import Front, answers, gone, wait_for
from tests.deployments.proxy.small_replica import Replica
from tests.load import Ask, Load

pytestmark = pytest.mark.skipif(haproxy_binary() is None, reason="there is no HAProxy for this platform")


def page(client: int, number: int) -> Ask:
    """What the small replica answers."""
    return Ask("")


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
