"""The stack that is broken: on ports and in a folder of its own, if possible on a disk of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from configs.settings import PROJECT_DIR, Ports, Settings
from deployments.local.processes import Record, family
from deployments.local.ray_environment import client_environment, resolved_settings

UP_S = 900.0
DISK_MB = 3000
PORTS_FIRST = 13_000
FIRST_WORKER = 20_000
FIRST_REPLICA = 27_400


class BrokenStack:
    """Starts, looks at, kills parts of and stops one stack.

    Args:
        settings: its own; nothing of a person's stack is shared but the downloaded data.
        file: where these settings are written for its commands.
    """

    def __init__(self, settings: Settings, file: Path) -> None:
        self.settings = settings
        self.url = f"http://127.0.0.1:{settings.ports.http}"
        self.more: dict[str, str] = {}  # environment of its processes besides, from the next command on
        self._file = file
        file.write_text(resolved_settings(settings))

    def command(self, *words: str, timeout_s: float = UP_S) -> "subprocess.CompletedProcess[str]":
        """`python -m deployments.local WORDS` on this stack."""
        return subprocess.run(
            [sys.executable, "-m", "deployments.local", *words],
            env=self.environment(),
            cwd=PROJECT_DIR,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def job(self, *words: str) -> "subprocess.Popen[str]":
        """A command that talks to this stack, such as `python -m jobs.submit`, left running."""
        environment = {**self.environment(), **client_environment(self.settings)}
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            env=environment,
            cwd=PROJECT_DIR,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RAYCOMMEND_", "RAY_")) and name not in ("REDIS_URL", "MLFLOW_TRACKING_URI", "DATA")
        }
        return {**kept, **self.more, "RAYCOMMEND_CONFIG": str(self._file)}

    def processes(self) -> list[psutil.Process]:
        """All processes of this stack: those that it started, and all that came of them."""
        found = []
        for path in (self.settings.state_dir / "run").glob("*.json"):
            record = Record.read(path)
            for pid in family(record) if record else {}:
                with contextlib.suppress(psutil.Error):
                    found.append(psutil.Process(pid))
        return found

    def named(self, *texts: str) -> list[psutil.Process]:
        """Its processes whose command holds one of `texts`, the oldest first."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if any(text in _command(process) for text in texts) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append((process.create_time(), process))
        return [process for _, process in sorted(found, key=lambda pair: pair[0])]

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """Replicas of a deployment, such as "RankingDeployment"."""
        return [
            process
            for process in self.named("ray::ServeReplica:")
            if _command(process).split()[0].rsplit(":", 1)[-1].split(".")[0] == deployment
        ]

    def health(self) -> dict[str, Any]:
        """What /health says; {} while nobody answers."""
        with contextlib.suppress(httpx.HTTPError, ValueError):
            answer: dict[str, Any] = httpx.get(f"{self.url}/health", timeout=5, trust_env=False).json()
            return answer
        return {}

    def well(self) -> bool:
        """Whether lists come undegraded and an event would be taken."""
        with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
            body = {"user_id": 1, "preview": True}
            answer = httpx.post(f"{self.url}/api/v1/recommend", json=body, timeout=5, trust_env=False)
            store = self.health().get("components", {}).get("store", {}).get("status")
            return answer.status_code == 200 and not answer.json()["degraded"] and store == "ok"
        return False


def kill(processes: list[psutil.Process]) -> None:
    """End processes by SIGKILL."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def wait_for(condition: Any, seconds: float, what: str) -> None:
    """Wait until `condition()` is true. Raises TimeoutError naming `what`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)


@contextlib.contextmanager
def own_disk(folder: Path) -> Iterator[Path | None]:
    """A small ext4 disk in a file, mounted under `folder`; None where this user may not mount."""
    image, place = folder / "disk.img", folder / "disk"
    place.mkdir()
    made = _quietly("truncate", "-s", f"{DISK_MB}M", str(image)) and _quietly("mkfs.ext4", "-q", str(image))
    if not (made and _quietly("mount", "-o", "loop", str(image), str(place))):
        yield None
        return
    try:
        yield place
    finally:
        _quietly("umount", "--lazy", str(place))


def own_settings(state_dir: Path, base: Settings, profile: str = "laptop") -> Settings:
    """Settings of a stack that shares nothing with the person's own but the data."""
    names = [name for name in Ports.model_fields if name not in ("replicas", "workers")]
    ports = {name: PORTS_FIRST + number for number, name in enumerate(names)}
    return Settings(
        state_dir=state_dir,
        data_dir=base.data_dir,
        ports=Ports(**ports, workers=FIRST_WORKER, replicas=FIRST_REPLICA),
        serving={"profile": profile},
        training={"trials": 1, "factors": 16, "ranker_trees": 40},
    )


def _command(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


def _quietly(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
