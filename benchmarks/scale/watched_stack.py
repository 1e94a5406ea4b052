"""A stack while it starts: what its processes use, by role, and when it gives the first lists."""

import math
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

import httpx
import psutil

from configs.settings import PROJECT_DIR, Settings

BETWEEN_S = 1.0
TRAINING = "training"
# What the command line of a process holds -> the name under which it is shown.
_ROLES = (
    ("jobs.retrain", TRAINING),
    ("ServeReplica:recommend:Ranking", "Ranking"),
    ("ServeReplica:recommend:Retrieval", "Retrieval"),
    ("ServeReplica:events", "Ingestion"),
    ("ServeReplica:console:Console", "Console"),
    ("ServeReplica:console:Autopilot", "Autopilot"),
    ("valkey-server", "Valkey"),
    ("mlflow", "MLflow"),
    ("data.prepare", "data.prepare"),
    ("jobs.rebuild_features", "jobs.rebuild_features"),
    ("models.compile", "models.compile"),
)
_OTHER_RAY = ("Serve", "IDLE", "JobSupervisor", "ProxyActor", "Agent")


def role_of(command: str) -> str:
    """The name under which a process with this command line is shown."""
    found = next((name for text, name in _ROLES if text in command), None)
    if found is not None:
        return found
    # Trials of the search run in workers of Ray.
    if command.startswith("ray::") and not any(text in command for text in _OTHER_RAY):
        return TRAINING
    return "the rest"


@dataclass
class Watched:
    """What the processes of a stack have used, by role; memory that processes share is counted once.

    Attributes:
        peak_mb: the largest memory that all processes of a role had at one moment.
        now_mb: what they had at the last look.
        stack_mb: the largest memory that all roles together had at one moment.
        processor_s: seconds, by process and role, up to the last look.
    """

    peak_mb: dict[str, float] = field(default_factory=dict)
    now_mb: dict[str, float] = field(default_factory=dict)
    stack_mb: float = 0.0
    processor_s: dict[tuple[int, str], float] = field(default_factory=dict)

    def look(self, settings: Settings) -> None:
        """Look at all processes whose environment names the stack's folder."""
        state_dir = str(settings.state_dir.resolve())
        held: defaultdict[str, float] = defaultdict(float)
        for process in psutil.process_iter():
            try:
                if process.environ().get("RAYCOMMEND_STATE_DIR", "") != state_dir:
                    continue
                with process.oneshot():
                    role = role_of(" ".join(process.cmdline()))
                    info, times = process.memory_full_info(), process.cpu_times()
            except psutil.Error:
                continue  # it has ended meanwhile, or is another user's
            held[role] += getattr(info, "pss", info.uss) / 1e6
            self.processor_s[process.pid, role] = times.user + times.system
        self.now_mb = dict(held)
        for role, size in held.items():
            self.peak_mb[role] = max(self.peak_mb.get(role, 0.0), size)
        self.stack_mb = max(self.stack_mb, sum(held.values()))

    def processor_of(self, role: str | None = None) -> float:
        """Seconds of processor time of a role's processes, or of all."""
        return sum(spent for (_, name), spent in self.processor_s.items() if role in (None, name))

    def show(self) -> None:
        """Print everything, a line for each role."""
        print(f"processor time {self.processor_of():.0f} s, peak of memory {self.stack_mb:,.0f} MB")
        for role, peak in sorted(self.peak_mb.items(), key=lambda pair: -pair[1]):
            now = self.now_mb.get(role, 0.0)
            print(f"  {role:24} {self.processor_of(role):6.1f} s, peak {peak:6,.0f} MB, at the end {now:6,.0f} MB")


class Asking(threading.Thread):
    """Asks for a list twice a second until there is one of a model.

    Attributes:
        popular_s, model_s: seconds from the beginning to the first list and to the first of a model, infinite before.
    """

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.popular_s = self.model_s = math.inf
        self._url, self._begun, self._ended = url, time.perf_counter(), threading.Event()

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=5) as client:
            while math.isinf(self.model_s) and not self._ended.wait(0.5):
                try:
                    answer = client.post("/api/v1/recommend", json={"user_id": "someone new"})
                    found = answer.json() if answer.status_code == 200 else {}
                except (httpx.HTTPError, ValueError):
                    continue
                if found.get("recommendations") and math.isinf(self.popular_s):
                    self.popular_s = time.perf_counter() - self._begun
                if found.get("model_version", "none") != "none":
                    self.model_s = time.perf_counter() - self._begun


def stack(settings: Settings, word: str) -> "subprocess.Popen[bytes]":
    """`python -m deployments.local WORD` on the stack of these settings."""
    environment = {**os.environ, "RAYCOMMEND_STATE_DIR": str(settings.state_dir.resolve())}
    return subprocess.Popen([sys.executable, "-m", "deployments.local", word], cwd=PROJECT_DIR, env=environment)


def start(settings: Settings) -> tuple[Watched, Asking]:
    """Start the stack and follow it until it is up and a model answers.

    Raises:
        SystemExit: it did not start.
    """
    watched, asking = Watched(), Asking(f"http://127.0.0.1:{settings.ports.http}")
    with stack(settings, "up") as up:
        asking.start()
        while up.poll() is None or math.isinf(asking.model_s):
            watched.look(settings)
            if up.poll():
                raise SystemExit("the stack did not start")
            time.sleep(BETWEEN_S)
    watched.look(settings)
    return watched, asking
