"""Two stacks on one state folder, and two commands at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.settings import PROJECT_DIR
from deployments.local.folder_lock import SUPERVISOR, FolderInUseError, FolderLock, changing


def test_a_second_command_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    refusal = rf"^`make up` is at work on this state folder \(pid {os.getpid()}\)"
    with changing(tmp_path, "make up"), pytest.raises(FolderInUseError, match=refusal), changing(tmp_path, "make down"):
        pass
    with changing(tmp_path, "make down"):
        pass


def test_a_supervisor_at_work_is_waited_for(tmp_path: Path) -> None:
    """It starts a part, which takes a moment; a command that met it there would be refused for no reason."""
    code = (
        "import sys, pathlib\n"
        "from deployments.local.folder_lock import FolderLock\n"
        "lock = FolderLock(pathlib.Path(sys.argv[1]))\n"
        "assert lock.take('supervisor')\n"
        "print('taken', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT_DIR, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "taken\n"
        refused = pytest.raises(FolderInUseError, match="the supervisor is at work")
        with refused, changing(tmp_path, "make up", patience_s=0):
            pass
        holder.stdin.close()
        with changing(tmp_path, "make up", patience_s=30):
            assert FolderLock(tmp_path / "lock").holder()["who"] == "make up"


def test_a_lock_passes_on_to_a_child_without_a_gap(tmp_path: Path) -> None:
    """As `make up` hands its lock to the supervisor that it starts."""
    lock = FolderLock(tmp_path / "supervisor.lock")
    assert lock.take("make up")
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[lock.descriptor]
    ) as child:
        lock.close()
        other = FolderLock(tmp_path / "supervisor.lock")
        assert not other.take("make up")
        child.kill()
        child.wait()
        assert other.take("make up")
        other.close()


def test_the_holder_is_known_after_its_death(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "lock")
    assert lock.holder() == {}
    lock.take(SUPERVISOR)
    lock.close()
    holder = FolderLock(tmp_path / "lock").holder()
    assert (holder["who"], holder["project"]) == (SUPERVISOR, str(PROJECT_DIR))
    (tmp_path / "lock").write_text("of an earlier version")
    assert FolderLock(tmp_path / "lock").holder() == {}
