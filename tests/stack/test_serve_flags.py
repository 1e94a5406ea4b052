"""What the flags in `configs/ray_flags.yaml` promise, on a running stack."""

import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.local.processes import processes
from deployments.local.ray_environment import haproxy_binary
from deployments.proxy.admin_socket import ask
from tests.conftest import RunningStack

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(haproxy_binary() is None, reason="there is no HAProxy for this platform"),
]


@dataclass(frozen=True)
class Probe:
    """`tests/stack/serve_probe.py` behind the stack's HAProxy; each request on a connection of its own."""

    url: str
    run_dir: Path

    def post(self, path: str, **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/{path}", timeout=30, **options)

    def settle(self, without: frozenset[int] = frozenset()) -> None:
        """Wait until both replicas answer, none of them in `without`, and the HAProxy that knows both is alone.

        A reload leaves the HAProxy before it to its open connections, with the replicas that it knew, for 60 s at most.
        """
        deadline = time.monotonic() + 90
        pids: set[int] = set()
        while len(pids - without) < 2 or self._haproxies() > 1:
            assert time.monotonic() < deadline, f"{pids} answer, {self._haproxies()} HAProxies run"
            answer = httpx.get(f"{self.url}/pid", timeout=30)
            if answer.status_code == 200:
                pids.add(answer.json())

    def servers(self) -> dict[str, int]:
        """Name of each server of HAProxy that stands for a replica or for Serve's own proxy -> requests it was sent."""
        lines = [line.split(",") for line in self.admin("show stat").splitlines()]
        return {line[1]: int(line[7]) for line in lines if line[0] == "http-probe" and line[1] != "BACKEND"}

    def admin(self, command: str) -> str:
        (path,) = self.run_dir.glob("*/hap.sock")
        return ask(path, command.encode() + b"\n").decode()

    def _haproxies(self) -> int:
        return sum(
            f"{self.run_dir}/" in each.command and each.command.startswith(f"{haproxy_binary()} ")
            for each in processes().values()
        )


@pytest.fixture
def probe(stack: RunningStack, probe_url: str) -> Probe:
    probe = Probe(probe_url, stack.settings.run_dir)
    probe.settle()
    return probe


def test_haproxy_takes_the_configuration_and_it_carries_our_lines(stack: RunningStack, probe: Probe) -> None:
    (config,) = stack.settings.run_dir.glob("*/haproxy.cfg")
    binary = haproxy_binary()
    assert binary is not None
    checked = subprocess.run([binary, "-c", "-f", config], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    served = config.with_name("haproxy.cfg.served").read_text()
    assert f"maxconn {stack.settings.proxy.connections}\n" in served, "the launcher did not know Ray's template"
    text = config.read_text()
    assert "retry-on conn-failure empty-response 502\n" in text
    assert text.count("unique-id-header x-request-id\n") == 1


def test_each_request_gets_one_id_after_the_clients_own(probe: Probe) -> None:
    first, second = (probe.post("ids").json() for _ in range(2))
    assert len(first) == len(second) == 1
    assert str(uuid.UUID(first[0])) == first[0]
    assert first != second
    own, given = probe.post("ids", headers={"x-request-id": "mine"}).json()
    assert own == "mine"
    assert uuid.UUID(given)


@pytest.mark.parametrize("headers", [{}, {"x-request-id": "mine"}], ids=["no id", "own id"])
def test_a_replica_that_dies_costs_no_request_and_the_retry_has_the_same_id(
    probe: Probe, tmp_path: Path, headers: dict[str, str]
) -> None:
    probe.settle()
    diary = tmp_path / "diary"
    answer = probe.post("die-once", params={"diary": str(diary)}, content="body", headers=headers)
    assert answer.status_code == 200, answer.text + diary.read_text()
    first, second = (line.rsplit(" ", 1) for line in diary.read_text().splitlines())
    assert first[0] == second[0], "the retry carries another id or body"
    assert first[0] == " ".join([*answer.json(), "body"])
    assert first[1] != second[1]
    probe.settle(without=frozenset({int(first[1])}))


@pytest.fixture
def without_replicas(probe: Probe) -> Iterator[Probe]:
    """HAProxy sends no request to a replica: all go to Serve's own proxy, as while it knows no replica."""
    probe.settle()
    replicas = [name for name in probe.servers() if "fallback" not in name]
    assert len(replicas) == 2
    for name in replicas:
        assert probe.admin(f"set server http-probe/{name} state maint").strip() == ""
    yield probe
    for name in set(replicas) & set(probe.servers()):
        probe.admin(f"set server http-probe/{name} state ready")


@pytest.mark.parametrize("headers", [{}, {"x-request-id": "mine"}], ids=["no id", "own id"])
def test_behind_serves_own_proxy_too_a_replica_that_dies_costs_no_request(
    without_replicas: Probe, tmp_path: Path, headers: dict[str, str]
) -> None:
    """That proxy has no answer then: HAProxy sends the request again when it says so."""
    probe, diary = without_replicas, tmp_path / "diary"
    [fallback] = [name for name in probe.servers() if "fallback" in name]
    before = probe.servers()[fallback]
    answer = probe.post("die-once", params={"diary": str(diary)}, content="body", headers=headers)
    assert answer.status_code == 200, answer.text + diary.read_text()
    first, second = (line.rsplit(" ", 1) for line in diary.read_text().splitlines())
    assert first[0] == second[0], "the retry carries another id or body"
    assert first[0] == " ".join([*answer.json(), "body"])
    assert first[1] != second[1]
    assert probe.servers()[fallback] > before
