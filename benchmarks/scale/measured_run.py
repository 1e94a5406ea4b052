"""A step in a process of its own: what it takes of time, and of memory together with all processes that it starts."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from configs.settings import PROJECT_DIR

_BETWEEN_S = 0.5


@dataclass(frozen=True)
class Used:
    """What a step took.

    Attributes:
        wall_s: seconds by the clock.
        processor_s: of the process and of its children that have ended.
        peak_gb: memory of the whole tree of processes, what they share counted once.
    """

    wall_s: float
    processor_s: float
    peak_gb: float

    def __str__(self) -> str:
        return f"{self.wall_s:.1f} s, {self.processor_s:.1f} s of processor time, peak {self.peak_gb:.2f} GB"


def run(what: str, command: Sequence[str], config: Path, limit_gb: float = float("inf")) -> Used:
    """Run `python *command` with these settings to its end, and print what it took.

    Raises:
        SystemExit: it failed, or took more memory than `limit_gb` and was stopped.
    """
    started = time.perf_counter()
    environment = {**os.environ, "RAYCOMMEND_CONFIG": str(config)}
    peak = 0.0
    with subprocess.Popen([sys.executable, *command], cwd=PROJECT_DIR, env=environment) as process:
        root = psutil.Process(process.pid)
        while True:
            found, status, used = os.wait4(process.pid, os.WNOHANG)
            if found:
                break
            peak = max(peak, _tree_gb(root))
            if peak > limit_gb:
                for one in [*root.children(recursive=True), root]:
                    one.kill()
            time.sleep(_BETWEEN_S)
        process.returncode = os.waitstatus_to_exitcode(status)
    taken = Used(time.perf_counter() - started, used.ru_utime + used.ru_stime, peak)
    if peak > limit_gb:
        raise SystemExit(f"{what} was stopped beyond {limit_gb:g} GB: {taken}")
    if process.returncode:
        raise SystemExit(f"{what} failed: {taken}")
    print(f"{what}: {taken}", flush=True)
    return taken


def _tree_gb(root: psutil.Process) -> float:
    """Memory of a process and its descendants; 0 for one that has just ended."""
    total = 0
    try:
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for process in processes:
        try:
            info = process.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        total += getattr(info, "pss", info.uss)
    return total / 1e9
