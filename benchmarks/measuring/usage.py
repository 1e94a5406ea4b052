"""Processor time and memory of the running stack by process."""

from collections import defaultdict
from dataclasses import dataclass

import psutil

from configs.settings import Settings

# What a process calls itself, or was started as -> the name under which it is shown.
_ROLES = (
    ("ServeReplica:recommend:Ranking", "Ranking"),
    ("ServeReplica:recommend:Retrieval", "Retrieval"),
    ("ServeReplica:events", "Ingestion"),
    ("ServeReplica:console", "Console"),
    ("haproxy", "HAProxy"),
    ("valkey-server", "Valkey"),
    ("ServeController", "Serve's controller"),
    ("mlflow", "MLflow"),
)
OTHERS = "the rest of Ray"


@dataclass(frozen=True)
class Usage:
    """What all processes of one role use: seconds of processor time since their start, MB resident, their number."""

    cpu_s: float
    memory_mb: float
    processes: int


def usage(settings: Settings) -> dict[str, Usage]:
    """role -> what its processes use now. A process is the stack's when its environment names the stack's folder."""
    state_dir = str(settings.state_dir.resolve())
    found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for pid in psutil.pids():
        try:
            process = psutil.Process(pid)
            if process.environ().get("RAYCOMMEND_STATE_DIR") != state_dir:
                continue
            with process.oneshot():
                command = " ".join(process.cmdline())
                times, resident = process.cpu_times(), process.memory_info().rss
        except psutil.Error:
            continue  # it has ended meanwhile, or is another user's
        if "benchmarks" in command:
            continue
        role = next((name for text, name in _ROLES if text in command), OTHERS)
        found[role].append((times.user + times.system, resident / 1e6))
    return {
        role: Usage(sum(cpu for cpu, _ in ones), sum(memory for _, memory in ones), len(ones))
        for role, ones in found.items()
    }


def spent(before: dict[str, Usage], after: dict[str, Usage], seconds: float) -> dict[str, float]:
    """role -> cores used on average, largest first; what used less than a hundredth of a core is left out."""
    nothing = Usage(0.0, 0.0, 0)
    cores = {role: (now.cpu_s - before.get(role, nothing).cpu_s) / seconds for role, now in after.items()}
    return dict(sorted(((role, used) for role, used in cores.items() if used >= 0.01), key=lambda pair: -pair[1]))
