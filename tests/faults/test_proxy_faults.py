"""The front proxy killed under load, on the running stack; each part of it alone is in tests/deployments/proxy."""

import os
import signal
import threading
import time
from typing import Any

import httpx
import psutil
import pytest

from deployments.local.ray_environment import LAUNCHER, haproxy_binary
from tests.faults.test_serving_faults import wait_for

pytestmark = [
    pytest.mark.stack,
    pytest.mark.destructive,
    pytest.mark.skipif(haproxy_binary() is None, reason="there is no HAProxy for this platform"),
]


def commands(stack: Any) -> dict[int, list[str]]:
    """Arguments of this stack's processes."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        if f"{stack.settings.run_dir}/" in " ".join(process.info["cmdline"] or []):
            found[process.pid] = process.info["cmdline"]
    return found


def proxies(stack: Any) -> list[int]:
    return [pid for pid, words in commands(stack).items() if words[0] == haproxy_binary()]


def manager(stack: Any) -> int:
    """The process by which Ray manages the proxy: it started the launcher."""
    launchers = {pid for pid, words in commands(stack).items() if str(LAUNCHER) in words}
    parents = {psutil.Process(pid).ppid() for pid in launchers} - launchers
    return next(pid for pid in parents if "HAProxyManager" in psutil.Process(pid).cmdline()[0])


class Asking:
    """Asks for lists without a pause on new connections, and notes how long none came."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers = 0
        self.longest_s = 0.0
        self.failures: list[str] = []

    def _run(self) -> None:
        last = time.monotonic()
        with httpx.Client(timeout=20, limits=httpx.Limits(max_keepalive_connections=0)) as client:
            while not self._ends.is_set():
                try:
                    answer = client.post(f"{self._url}/api/v1/recommend", json={"user_id": self.answers % 943 + 1})
                    if answer.status_code != 200:
                        self.failures.append(f"{answer.status_code} {answer.text}")
                        continue
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                now = time.monotonic()
                self.longest_s, last = max(self.longest_s, now - last), now
                self.answers += 1

    def goes_on(self) -> None:
        wanted = self.answers + 30
        wait_for(lambda: self.answers >= wanted)

    def __enter__(self) -> "Asking":
        self._thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()


def test_a_killed_haproxy_is_back_within_two_seconds(stack: Any) -> None:
    wait_for(lambda: len(proxies(stack)) == 1)
    with Asking(stack.url) as asking:
        for pid in proxies(stack):
            os.kill(pid, signal.SIGKILL)
        asking.goes_on()
    assert asking.longest_s < 2, asking.failures


def test_lists_go_on_without_rays_manager_of_the_proxy_which_takes_over_again(stack: Any) -> None:
    wait_for(lambda: len(proxies(stack)) == 1)
    before, killed = proxies(stack), manager(stack)
    with Asking(stack.url) as asking:
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: not set(before) & set(proxies(stack)), 90)
        asking.goes_on()
    assert asking.failures == []
    assert manager(stack) != killed
