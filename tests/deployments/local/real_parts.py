"""Processes that a supervisor of a test watches, and its clock."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from deployments.local.part_watch import PartWatch
from deployments.local.processes import Record, start, stop
from deployments.local.supervisor import WatchedPart

LIVES = "import time; print('begun', flush=True); time.sleep(600)"
DIES = "print('the disk is on fire', flush=True); raise SystemExit(1)"


class Part:
    """A process that the supervisor starts; it answers as the test says."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.log, self.code = name, folder / f"{name}.log", LIVES
        self.records: list[Record] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.answers = True

    def start(self) -> None:
        if self.records:
            stop(self.records[-1], 2, print)
        record, process = start(self.name, [sys.executable, "-c", self.code], dict(os.environ), "", self.log)
        self.records.append(record)
        self.processes.append(process)
        deadline = time.monotonic() + 30
        while not self.log.read_text() or (self.code == DIES and process.poll() is None):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def identity(self) -> str | None:
        return self.records[-1].mark if self.records and self.records[-1].alive() else None

    def kill(self) -> None:
        os.kill(self.records[-1].pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while self.records[-1].alive():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def watched(self, silent_s: float = 30) -> WatchedPart:
        watch = PartWatch(self.name, silent_s, start_s=120)
        return WatchedPart(
            watch, self.identity, lambda: "yes" if self.answers else "no", self.start, lambda: self.log, 0
        )


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now
