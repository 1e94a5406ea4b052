"""The front proxy killed under load, on the running stack; each part of it alone is in tests/deployments/proxy."""

import contextlib
import os
import signal
from typing import Any

import psutil
import pytest

from deployments.local.ray_environment import LAUNCHER, haproxy_binary
from tests.load import Load
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.stack,
    pytest.mark.destructive,
    pytest.mark.faults,
    pytest.mark.skipif(haproxy_binary() is None, reason="there is no HAProxy for this platform"),
]


LEFT_S = 90
"""A HAProxy before a change of replicas stays for the connections that clients keep open, for 60 s at most."""


def commands(stack: Any) -> dict[int, list[str]]:
    """Arguments of this stack's processes."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        if f"{stack.settings.run_dir}/" in " ".join(process.info["cmdline"] or []):
            found[process.pid] = process.info["cmdline"]
    return found


def proxies(stack: Any) -> list[int]:
    return [pid for pid, words in commands(stack).items() if words[0] == haproxy_binary()]


def managers(stack: Any) -> set[int]:
    """Processes by which Ray manages the proxy: those that started a launcher which runs."""
    found = set()
    for pid, words in commands(stack).items():
        with contextlib.suppress(psutil.NoSuchProcess):
            if str(LAUNCHER) in words:
                found.add(psutil.Process(pid).ppid())
    return {pid for pid in found if "HAProxyManager" in name_of(pid)}


def name_of(pid: int) -> str:
    """What a process calls itself; nothing where it has ended."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_a_killed_haproxy_is_back_within_two_seconds(stack: Any) -> None:
    wait_for(lambda: len(proxies(stack)) == 1, LEFT_S)
    with Load(stack.url, clients=1, keep_alive=False) as asking:
        asking.goes_on()
        for pid in proxies(stack):
            os.kill(pid, signal.SIGKILL)
        asking.goes_on()
    assert asking.longest_s < 2, asking.failures


def test_lists_go_on_without_rays_manager_of_the_proxy_which_takes_over_again(stack: Any) -> None:
    wait_for(lambda: len(proxies(stack)) == 1, LEFT_S)
    before, [killed] = proxies(stack), managers(stack)
    with Load(stack.url, clients=1, keep_alive=False) as asking:
        asking.goes_on()
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: not set(before) & set(proxies(stack)), 90)
        asking.goes_on()
    assert asking.failures == []
    wait_for(lambda: managers(stack) - {killed} != set(), 90)
