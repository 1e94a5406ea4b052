"""Processor time and memory of the running stack by process, read from /proc (on Linux; elsewhere nothing is told)."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from configs.settings import Settings

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
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
    mark = f"RAYCOMMEND_STATE_DIR={settings.state_dir.resolve()}".encode()
    found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            resident = int((folder / "statm").read_text().split()[1])
        except OSError:
            continue  # it has ended meanwhile, or is another user's
        if "benchmarks" in command:
            continue
        role = next((name for text, name in _ROLES if text in command), OTHERS)
        found[role].append(((int(fields[11]) + int(fields[12])) / _TICKS, resident * _PAGE / 1e6))
    return {
        role: Usage(sum(cpu for cpu, _ in ones), sum(memory for _, memory in ones), len(ones))
        for role, ones in found.items()
    }


def spent(before: dict[str, Usage], after: dict[str, Usage], seconds: float) -> dict[str, float]:
    """role -> cores used on average, largest first; what used less than a hundredth of a core is left out."""
    nothing = Usage(0.0, 0.0, 0)
    cores = {role: (now.cpu_s - before.get(role, nothing).cpu_s) / seconds for role, now in after.items()}
    return dict(sorted(((role, used) for role, used in cores.items() if used >= 0.01), key=lambda pair: -pair[1]))
