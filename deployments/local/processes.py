"""Processes that the stack starts, and how it finds and ends exactly those.

A process id is reused by the system sooner or later. So a process is remembered by its id and the moment at which it
started, and nothing is ever signalled by a name.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil

from deployments.local.private_file import write_private

MARK = "RAYCOMMEND_STARTED_AS"
POLL_S = 0.1
LOOK_S = 1.0  # between two looks at all processes of the machine: 27 ms of processor time where there are 130
LAST_WAIT_S = 10.0


@dataclass(frozen=True)
class Running:
    """One process of the system: `started` differs between two processes that had the same `pid`."""

    pid: int
    parent: int
    started: str
    command: str


@dataclass(frozen=True)
class Record:
    """A process that the stack started. `mark` is in its environment, and so in that of all that it starts."""

    name: str
    pid: int
    started: str
    started_at: float
    mark: str
    address: str
    log: str

    def alive(self) -> bool:
        return _started(self.pid) == self.started

    def save(self, path: Path) -> None:
        write_private(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def of_this_process(cls, name: str, log: str) -> "Record":
        """The record of a part that this process itself is."""
        return cls(name, os.getpid(), _started(os.getpid()) or "gone", time.time(), "", "", log)

    @classmethod
    def read(cls, path: Path) -> "Record | None":
        try:
            found = json.loads(path.read_text())
            # A later version may have written more, and its `make down` must be possible here, too.
            return cls(**{one.name: found[one.name] for one in fields(cls)})
        except FileNotFoundError:
            return None


def start(
    name: str,
    command: Sequence[str],
    environment: dict[str, str],
    address: str,
    log: Path,
    pass_fds: Sequence[int] = (),
) -> tuple[Record, subprocess.Popen[bytes]]:
    """Start a process in a session of its own, so that Ctrl-C in the terminal does not reach it.

    The log of an earlier start stays beside the new one as `<name>.log.1`. `pass_fds` are open files that it inherits.
    """
    mark = f"{name}-{secrets.token_hex(8)}"
    if log.exists():
        log.replace(log.with_name(log.name + ".1"))
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=pass_fds,
        )
    started = _started(process.pid) or "gone"
    return Record(name, process.pid, started, time.time(), mark, address, str(log)), process


def family(record: Record) -> dict[int, Running]:
    """The process of `record` and all that came of it.

    While it lives that is its descendants and its session. After its death only those that carry the mark in their
    environment, and their descendants: the session's number may by then belong to someone else.
    """
    everything = processes()
    found = {pid for pid in everything if _carries(record.mark, pid)}
    root = everything.get(record.pid)
    if root is not None and root.started == record.started:
        found |= {record.pid} | {pid for pid in everything if _session(pid) == record.pid}
    children: dict[int, list[int]] = {}
    for process in everything.values():
        children.setdefault(process.parent, []).append(process.pid)
    waiting = list(found)
    while waiting:
        for child in children.get(waiting.pop(), []):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return {pid: everything[pid] for pid in found if pid != os.getpid()}


def stop(record: Record, deadline_s: float, say: Callable[[str], None]) -> None:
    """End the process of `record` and all that came of it, and return when they are gone.

    The process itself is asked first, since it ends its own children in order; what is left of them is asked after
    it. What is still there after `deadline_s` is killed, and `say` is told which.
    """
    known = family(record)
    look_again = time.monotonic() + LOOK_S
    asked: set[int] = set()
    killed: set[int] = set()
    give_up = time.monotonic() + deadline_s
    while known:
        root_gone = record.pid not in known
        late = time.monotonic() > give_up
        for process in known.values():
            if late and process.pid not in killed:
                killed.add(process.pid)
                say(f"{record.name}: did not end within {deadline_s:.0f} s, killing {_describe(process)}")
                _signal(process, signal.SIGKILL)
            elif process.pid not in asked and (root_gone or process.pid == record.pid):
                asked.add(process.pid)
                _signal(process, signal.SIGTERM)
        if time.monotonic() > give_up + LAST_WAIT_S:
            say(f"{record.name}: the system does not end {', '.join(_describe(process) for process in known.values())}")
            return
        time.sleep(POLL_S)
        known = {pid: process for pid, process in known.items() if _started(pid) == process.started}
        if not known or time.monotonic() > look_again:
            known |= family(record)
            look_again = time.monotonic() + LOOK_S


def end(record: Record, deadline_s: float, say: Callable[[str], None]) -> None:
    """End the process of `record` alone, not what came of it; it is killed after `deadline_s`."""
    give_up = time.monotonic() + deadline_s
    root = _read(record.pid)
    if root is None or root.started != record.started:
        return
    _signal(root, signal.SIGTERM)
    _signal(root, signal.SIGCONT)  # One that somebody has stopped could not hear it.
    while record.alive():
        if time.monotonic() > give_up:
            say(f"{record.name}: did not end within {deadline_s:.0f} s, killing {_describe(root)}")
            _signal(root, signal.SIGKILL)
            give_up = float("inf")
        time.sleep(POLL_S / 2)


def processes() -> dict[int, Running]:
    """All processes of the machine that are not already dead (a zombie is)."""
    return {pid: process for pid in psutil.pids() if (process := _read(pid))}


def _read(pid: int) -> Running | None:
    # Not from `psutil.process_iter`: it remembers processes, and would give an earlier one that had the same pid.
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return Running(pid, process.ppid(), _moment(process), _command(process))
    return None


def _moment(process: psutil.Process) -> str:
    """When it started, in hundredths of a second: on Linux since the boot, because psutil's time since 1970 moves when
    the clock is set."""
    since = psutil.boot_time() if psutil.LINUX else 0.0
    return str(round((process.create_time() - since) * 100))


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.AccessDenied):  # macOS keeps other users' arguments to itself
        return " ".join(process.cmdline()) or process.name()
    return process.name()


def _started(pid: int) -> str | None:
    process = _read(pid)
    return process.started if process else None


def _carries(mark: str, pid: int) -> bool:
    """Whether its environment, as it was at its start, holds the mark. Other users' processes cannot be read."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).environ().get(MARK) == mark
    return False


def _describe(process: Running) -> str:
    return f"pid {process.pid} ({process.command[:80]})"


def _session(pid: int) -> int | None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        return os.getsid(pid)
    return None


def _signal(process: Running, number: signal.Signals) -> None:
    if _started(process.pid) == process.started:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(process.pid).send_signal(number)
