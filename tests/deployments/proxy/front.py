"""A HAProxy with the configuration that Ray writes and the launcher rewrites."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from configs.groups.proxy import Proxy
from deployments.local.ray_environment import (
    HAPROXY_VARIABLE,
    LAUNCHER,
    REAL_HAPROXY_VARIABLE,
    haproxy_binary,
    load_flags,
)
from deployments.proxy.admin_socket import process_id
from tests.features.servers import free_ports

APPLICATIONS = {"console": "/", "recommend": "/api/v1/recommend", "events": "/api/v1/events"}
SPREAD_S = 1
"""Within this time after its end was asked, HAProxy as Ray configures it closes connections without a request."""
# Starts what its arguments say, tells the process id, and stays when that has ended.
PARENT = (
    "import signal, subprocess, sys; child = subprocess.Popen(sys.argv[1:]);"
    "print(child.pid, flush=True); child.wait(); signal.pause()"
)


class Front:
    """What Ray does: writes a configuration, starts the launcher as HAProxy, starts it again for each change.

    The launcher's parent stands for Ray's manager of the proxy, and that one's parent for Ray itself.
    """

    def __init__(self, limits: Proxy | None = None) -> None:
        self.limits = limits or Proxy()
        self.folder = Path(tempfile.mkdtemp(prefix="front-"))
        self.config = self.folder / "haproxy.cfg"
        self.socket = self.folder / "hap.sock"
        self.ports = dict(zip(("http", "stats", "metrics"), free_ports(3), strict=True))
        self.url = f"http://127.0.0.1:{self.ports['http']}"
        self.operators_url = f"http://127.0.0.1:{self.ports['metrics']}"
        self.log = self.folder / "log"
        self._started: list[subprocess.Popen[str]] = []

    def write(self, replicas: dict[str, list[int]], fallback: int | None = None, host: str = "127.0.0.1") -> str:
        """Have Ray write its configuration.

        Args:
            replicas: application -> ports of its replicas.
            fallback: port of Ray's own proxy.
        """
        from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
        from ray.serve.config import HTTPOptions

        flags = load_flags().haproxy
        last = None if fallback is None else ServerConfig("SERVE_PROXY_ACTOR-1", "127.0.0.1", fallback)
        backends = {
            f"http-{name}": BackendConfig(
                name=f"http-{name}",
                path_prefix=APPLICATIONS[name],
                app_name=name,
                servers=[ServerConfig(f"REPLICA-{port}", "127.0.0.1", port) for port in ports],
                fallback_server=last,
            )
            for name, ports in replicas.items()
        }
        config = HAProxyConfig(
            http_options=HTTPOptions(host=host, port=self.ports["http"], keep_alive_timeout_s=75),
            socket_path=str(self.socket),
            server_state_base=str(self.folder),
            server_state_file=str(self.folder / "server-state"),
            stats_port=self.ports["stats"],
            metrics_port=self.ports["metrics"],
            nbthread=1,
            metrics_enabled=False,
            retry_on=flags["RAY_SERVE_HAPROXY_RETRY_ON"],
            hard_stop_after_s=10,
            close_spread_time_s=SPREAD_S,
            is_head=True,
        )
        api = HAProxyApi(config, config_file_path=str(self.config))
        api.set_backend_configs(backends)
        api._generate_config_file_internal()
        return self.config.read_text()

    def start(self, first: bool = False) -> "Launched":
        """Start the launcher as Ray does; returns when HAProxy answers.

        Args:
            first: as a manager does at first, which knows no HAProxy before this one.
        """
        launched = self.launch(first=first)
        launched.wait_until_up()
        return launched

    def launch(self, environment: dict[str, str] | None = None, first: bool = False) -> "Launched":
        binary = haproxy_binary()
        assert binary is not None
        variables = {
            **os.environ,
            HAPROXY_VARIABLE: str(LAUNCHER),
            REAL_HAPROXY_VARIABLE: binary,
            **self.limits.environment(),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            **(environment or {}),
        }
        parent = [sys.executable, "-I", "-S", "-c", PARENT]
        before = [] if first else ["-sf", "1", "-x", "nowhere"]
        with self.log.open("a") as log:
            ray = subprocess.Popen(
                [*parent, *parent, str(LAUNCHER), "-db", "-f", str(self.config), "-dR", *before],
                env=variables,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._started.append(ray)
        assert ray.stdout is not None
        manager, guard = int(ray.stdout.readline()), int(ray.stdout.readline())
        return Launched(self, ray.pid, manager, guard)

    def close(self) -> None:
        """End all that came of this, what has lost its parents too."""
        while family := self._family():
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        for ray in self._started:
            assert ray.stdout is not None
            ray.stdout.close()
            ray.wait()
        shutil.rmtree(self.folder)

    def haproxies(self) -> list[int]:
        """Process ids, without what keeps them."""
        binary = Path(haproxy_binary() or "").resolve()
        found = []
        for pid in self._family():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/exe").readlink() == binary:
                    found.append(pid)
        return found

    def _family(self) -> list[int]:
        """Each process has the folder in its arguments; a dead one has none."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(self.folder).encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found


@dataclasses.dataclass(frozen=True)
class Launched:
    """One launcher: process ids of what stands for Ray and its manager, and of the guard."""

    front: Front
    ray: int
    manager: int
    guard: int

    def wait_until_up(self) -> None:
        wait_for(lambda: process_id(self.front.socket) == self.guard, self.front.log)

    def keeper(self) -> int:
        (child,) = psutil.Process(self.guard).children()
        return child.pid

    def haproxy(self) -> int:
        (child,) = psutil.Process(self.keeper()).children()
        return child.pid


def wait_for(condition: Callable[[], bool], log: Path | None = None, seconds: float = 20) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "not in time" if log is None else log.read_text()
        time.sleep(0.02)


def error_of(answer: httpx.Response) -> str:
    """The code of an error, whose form is checked."""
    assert answer.headers["content-type"] == "application/json", answer.text
    error = json.loads(answer.content)["error"]
    assert set(error) == {"code", "message"}
    if answer.status_code == 503:
        assert int(answer.headers["retry-after"]) >= 1
    code: str = error["code"]
    return code


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
