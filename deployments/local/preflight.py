"""What must be true before anything is started: one line for each thing that is not, saying what to do."""

import contextlib
import os
import platform
import shutil
import socket
from pathlib import Path

import psutil

from configs.addresses import without_credentials
from configs.settings import Settings
from deployments.local.probes import listens
from deployments.local.processes import processes
from deployments.local.ray_environment import (
    REPLICA_PORTS,
    WORKER_PORTS,
    haproxy_binary,
    internal_ports,
    owns_store,
    owns_tracking,
)

MEMORY_GB = 3.0
DISK_GB = 2.0
# Ray's session folder and socket name after `run_dir`, within the 107 bytes of a socket path; and HAProxy's within 97.
RAY_SOCKET_TAIL = len("/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store")
HAPROXY_SOCKET_TAIL = len("/") + 56 + len("/met.sock")
RAY_PORTS = ("gcs", "dashboard", "client", "agent", "metrics")


def problems(settings: Settings, running: set[str]) -> list[str]:
    """Everything that stands in the way of a start, best first.

    Args:
        running: names of our own parts that run already; their ports are taken by right.
    """
    return [
        *_platform(),
        *_space(settings, running),
        *_paths(settings),
        *_outside(settings),
        *taken_ports(settings, running),
    ]


def _platform() -> list[str]:
    system, machine = platform.system(), platform.machine()
    if system not in ("Linux", "Darwin"):
        return [f"{system} is not supported: run this on Linux or macOS (on Windows, inside WSL)"]
    if machine not in ("x86_64", "aarch64", "arm64"):
        return [f"there is no Ray for {machine}: use an x86_64 or arm64 machine"]
    return []


def _space(settings: Settings, running: set[str]) -> list[str]:
    found = []
    memory = available_memory_gb()
    if "ray" not in running and memory < MEMORY_GB:
        found.append(
            f"{memory:.1f} GB of memory are available and {MEMORY_GB:.0f} are needed: close other programs, "
            "or give this container more"
        )
    for folder in {_existing(settings.state_dir), _existing(settings.run_dir)}:
        free = shutil.disk_usage(folder).free / 1e9
        if free < DISK_GB:
            found.append(f"{free:.1f} GB are free on the disk of {folder} and {DISK_GB:.0f} are needed: make room")
    return found


def available_memory_gb() -> float:
    """Memory that new processes can have, the container's limit considered (psutil knows the machine's alone)."""
    available = int(psutil.virtual_memory().available)
    limit = _number(Path("/sys/fs/cgroup/memory.max"))
    used = _number(Path("/sys/fs/cgroup/memory.current"))
    if limit is not None and used is not None:
        available = min(available, limit - used)
    return available / 1e9


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _paths(settings: Settings) -> list[str]:
    found = []
    run_dir = settings.run_dir
    tail, limit = (HAPROXY_SOCKET_TAIL, 97) if haproxy_binary() else (RAY_SOCKET_TAIL, 107)
    if len(str(run_dir)) + tail > limit:
        found.append(f"{run_dir} is too long for the sockets in it: set TMPDIR to a shorter folder, such as /tmp")
    if run_dir.is_symlink() or (run_dir.exists() and run_dir.stat().st_uid != os.getuid()):
        found.append(f"{run_dir} belongs to someone else: remove it, or set TMPDIR to a folder of your own")
    if not os.access(_existing(settings.state_dir), os.W_OK):
        found.append(f"{settings.state_dir} cannot be written: set RAYCOMMEND_STATE_DIR to a folder that can")
    return found


def _outside(settings: Settings) -> list[str]:
    """One line for each outside part (store, registry) that does not answer now."""
    found = []
    if not owns_store(settings) and not listens(settings.store_url, 6379):
        found.append(f"nothing answers at REDIS_URL={without_credentials(settings.store_url)}: start it, or unset it")
    uri = settings.tracking_uri
    if not owns_tracking(settings) and uri.startswith("http") and not listens(uri, 443 if "https" in uri else 80):
        found.append(f"nothing answers at MLFLOW_TRACKING_URI={without_credentials(uri)}: start it, or unset it")
    return found


def needed_ports(settings: Settings) -> dict[str, dict[str, int]]:
    """Single ports by part of the stack: name in `settings.ports` (or of a part of Ray) -> port."""
    ports = settings.ports.model_dump()
    needed = {"ray": {name: ports[name] for name in (*RAY_PORTS, "http")} | internal_ports(settings)}
    if haproxy_binary():
        needed["ray"] |= {name: ports[name] for name in ("haproxy_stats", "haproxy_metrics")}
    if owns_store(settings):
        needed["store"] = {"store": ports["store"]}
    if owns_tracking(settings):
        needed["mlflow"] = {"mlflow": ports["mlflow"]}
    return needed


def taken_ports(settings: Settings, running: set[str]) -> list[str]:
    """One line for each port that something else holds."""
    found = []
    ranges = {
        "replicas": (settings.ports.replicas, 2 * REPLICA_PORTS),
        "workers": (settings.ports.workers, WORKER_PORTS),
    }
    internal = internal_ports(settings)
    for part, needed in needed_ports(settings).items():
        if part in running:
            continue
        for name, port in needed.items():
            setting = "workers" if name in internal else name
            for range_name, (first, size) in ranges.items():
                if name not in internal and first <= port < first + size:
                    found.append(f"port {port} ({name}) lies in the range of {range_name}, {first} to "
                                 f"{first + size - 1}: set RAYCOMMEND_PORTS_{name.upper()} to another")  # fmt: skip
            host = settings.serving.host if name == "http" else "127.0.0.1"
            if not is_free(port, host):
                found.append(f"port {port} is taken by {holder(port)}: stop it, or choose another with "
                             f"RAYCOMMEND_PORTS_{setting.upper()}={port + 1}")  # fmt: skip
    return found


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server can listen there. On macOS a wildcard listener does not prevent binding, hence both tries."""
    if listens(f"tcp://{'127.0.0.1' if host in ('0.0.0.0', '*') else host}:{port}", port):  # noqa: S104
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Who listens on a port, as `pid 12 (name)`, as far as this user may know."""
    # One process after another, since macOS shows the connections of all at once to root alone.
    for pid, process in processes().items():
        with contextlib.suppress(psutil.Error):
            for connection in psutil.Process(pid).net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return f"pid {pid} ({os.path.basename(process.command.split(' ')[0].rstrip(':'))})"
    return "another program"
