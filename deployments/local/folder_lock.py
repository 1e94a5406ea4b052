"""One stack for one state folder: locks that the system takes away from a process that ends, however it ends.

`lock` is held while something is changed: by a command, and by the supervisor for the moments in which it starts a
part. `supervisor.lock` is held for as long as a supervisor lives. Each file says who held it last.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from configs.settings import PROJECT_DIR

POLL_S = 0.05
PATIENCE_S = 90.0
SUPERVISOR = "supervisor"


class FolderInUseError(Exception):
    """Another process holds the state folder; the message says which, and what to do."""


class FolderLock:
    """A lock file, open for as long as this object is in use.

    Args:
        path: of the file, which is made if need be.
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    @classmethod
    def inherited(cls, descriptor: int) -> "FolderLock":
        """A lock that the parent process took and handed on as an open file."""
        lock = cls.__new__(cls)
        lock.descriptor = descriptor
        return lock

    def take(self, who: str) -> bool:
        """Take the lock and write down by whom. False if another process has it."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self.sign(who)
        return True

    def sign(self, who: str) -> None:
        """Write down who holds it: a word, and which process of which project on which machine."""
        about = {"who": who, "pid": os.getpid(), "project": str(PROJECT_DIR), "host": socket.gethostname()}
        with contextlib.suppress(OSError):  # On a full disk the lock counts all the same.
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, json.dumps(about).encode(), 0)

    def holder(self) -> dict[str, str]:
        """What whoever held it last wrote: `who`, `pid`, `project`, `host`, each perhaps absent."""
        try:
            found = json.loads(os.pread(self.descriptor, 4096, 0))
        except ValueError:
            return {}
        return {name: str(value) for name, value in found.items()} if isinstance(found, dict) else {}

    def close(self) -> None:
        """Close the file. The lock is free unless a child has inherited it."""
        os.close(self.descriptor)


@contextlib.contextmanager
def changing(state_dir: Path, who: str, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold `lock`: two processes that start or stop parts of the same stack must not do so at once.

    A supervisor that starts a part is waited for; a command is not, since it may take minutes.

    Raises:
        FolderInUseError: another process has the lock.
    """
    lock = FolderLock(state_dir / "lock")
    give_up = time.monotonic() + patience_s
    try:
        while not lock.take(who):
            holder = lock.holder()
            if holder.get("who") != SUPERVISOR or time.monotonic() > give_up:
                raise FolderInUseError(_at_work(holder))
            time.sleep(POLL_S)
        yield
    finally:
        lock.close()


def _at_work(holder: dict[str, str]) -> str:
    who = holder.get("who", "make up")
    by = f"`make {who.removeprefix('make ')}`" if who != SUPERVISOR else "the supervisor"
    where = f" of {holder['project']}" if holder.get("project", str(PROJECT_DIR)) != str(PROJECT_DIR) else ""
    return f"{by}{where} is at work on this state folder (pid {holder.get('pid', 'unknown')}): wait for it"
