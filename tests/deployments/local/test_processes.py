"""Ending exactly what was started: real processes, some of them unwilling."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from deployments.local.processes import Record, end, family, processes, start, stop

# Starts a child in a session of its own, as Ray does with some, and tells its pid.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[str], Record]]:
    """Start Python code as a part of a stack; whatever is left of it is killed at the end."""
    started: list[tuple[Record, subprocess.Popen[bytes]]] = []

    def begin(code: str) -> Record:
        log = tmp_path / f"part{len(started)}.log"
        command = [sys.executable, "-c", code]
        record, process = start("part", command, dict(os.environ), "nowhere", log)
        started.append((record, process))
        return record

    yield begin
    for record, process in started:
        while found := family(record):  # One that has just begun may start a child meanwhile.
            for left in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(left, signal.SIGKILL)
        process.wait(timeout=10)


def first_line(record: Record) -> str:
    deadline = time.monotonic() + 10
    while "\n" not in (text := Path(record.log).read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return text.splitlines()[0]


def test_a_child_in_another_session_ends_with_its_parent(run: Callable[[str], Record]) -> None:
    record = run(PARENT)
    child = int(first_line(record))
    assert {record.pid, child} <= family(record).keys()
    said: list[str] = []
    stop(record, 10, said.append)
    assert not {record.pid, child} & processes().keys()
    assert not record.alive()
    assert said == []


def test_children_of_a_killed_part_are_found_by_their_mark(run: Callable[[str], Record]) -> None:
    record = run(PARENT)
    child = int(first_line(record))
    os.kill(record.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while record.alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert set(family(record)) == {child}
    stop(record, 10, print)
    assert child not in processes()


def test_a_process_with_a_recycled_pid_is_left_alone(run: Callable[[str], Record]) -> None:
    other = run(PARENT)
    child = int(first_line(other))
    earlier = replace(other, started="another moment", mark="another-mark")
    assert not earlier.alive()
    assert family(earlier) == {}
    stop(earlier, 10, print)
    assert {other.pid, child} <= processes().keys()


def test_a_deaf_process_is_killed_after_the_deadline_and_that_is_said(run: Callable[[str], Record]) -> None:
    record = run(DEAF)
    first_line(record)
    said: list[str] = []
    stop(record, 0.3, said.append)
    assert record.pid not in processes()
    assert len(said) == 1
    assert f"killing pid {record.pid}" in said[0]


def test_a_record_survives_on_disk(run: Callable[[str], Record], tmp_path: Path) -> None:
    record = run(PARENT)
    record.save(tmp_path / "part.json")
    assert Record.read(tmp_path / "part.json") == record
    assert Record.read(tmp_path / "none.json") is None


def test_the_log_of_the_start_before_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    for word in ("one", "two"):
        record, process = start("part", ["echo", word], dict(os.environ), "nowhere", log)
        assert process.wait(timeout=10) == 0
        assert not record.alive()
    assert (log.read_text(), Path(f"{log}.1").read_text()) == ("two\n", "one\n")


def test_a_process_can_be_ended_without_what_came_of_it(run: Callable[[str], Record]) -> None:
    """As the supervisor is, which may have started Ray; also one that somebody has stopped."""
    record = run(PARENT)
    child = int(first_line(record))
    os.kill(record.pid, signal.SIGSTOP)
    said: list[str] = []
    end(record, 10, said.append)
    assert not record.alive()
    assert child in processes()
    assert said == []
    end(record, 10, said.append)  # It has ended already.


def test_whoever_waits_for_an_end_seldom_looks_at_the_whole_machine(
    run: Callable[[str], Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: two looks at every process in each tenth of a second took `make down` 7 s of processor time."""
    looks = []
    pids = psutil.pids

    def counted() -> list[int]:
        looks.append(time.monotonic())
        return pids()

    record = run(DEAF)
    first_line(record)
    monkeypatch.setattr(psutil, "pids", counted)
    stop(record, 1.5, lambda line: None)
    assert len(looks) <= 4, "one at first, one a second, and one at the end"
