"""Keeps HAProxy running for Ray, which starts it once, and then looks every 10 s whether it is there.

Two processes stand between Ray and HAProxy:

    Ray's manager of the proxy -> guard -> keeper -> HAProxy

The *guard* has the process id that Ray knows. It passes signals on and starts the keeper again when that ends unasked.
The *keeper* rewrites the configuration, starts HAProxy, takes the listening sockets of the HAProxy before it, answers
Ray on the admin socket, and ends when its HAProxy ends. Any of them may be killed:

- HAProxy: the keeper sees it at once, and the guard starts both again.
- the keeper: HAProxy finishes its requests, and the guard starts both again.
- the guard: HAProxy goes on until Ray, which no longer finds the admin socket, has started the next one. Ray itself
  ends the proxy in this way, and then its manager: after that HAProxy finishes its requests and ends.
- Ray's manager: HAProxy goes on until the next manager has started the next one.

When Ray itself has ended, HAProxy ends.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from deployments.proxy.keeper import AGAIN, SIGNALS, Keeper, say

PAUSES_S = (0.0, 0.0, 0.2, 0.5, 1.0)
"""Before each new start, if the HAProxy before it did not last; the last one from then on."""
STEADY_S = 5.0


def main(arguments: Sequence[str]) -> int:
    """Run HAProxy as `haproxy ARGUMENTS` would, until it is told to end. Returns its exit code."""
    with contextlib.suppress(PermissionError):
        os.setsid()  # with its manager, Ray ends all of that one's process group
    guard = os.getpid()
    manager = os.getppid()
    # Taken while they live for certain: later another process may have the number.
    watched = {"manager": os.pidfd_open(manager), "ray": os.pidfd_open(_parent(manager))}
    return _Guard(lambda: Keeper(arguments, guard, watched).run()).run()


def _parent(pid: int) -> int:
    # After the command's name, which may hold anything, come the state and the parent.
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class _Guard:
    def __init__(self, keep: Callable[[], int]) -> None:
        self._keep = keep
        self._keeper: int | None = None
        self._asked = False
        for number in SIGNALS:
            signal.signal(number, self._pass_on)

    def run(self) -> int:
        failures, was_up = 0, False
        while True:
            started = time.monotonic()
            code = self._keeper_ends()
            if self._asked or code == 0 or (code > 0 and code != AGAIN and not was_up):
                return max(code, 0)
            was_up = True
            pause_s = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
            failures = 0 if time.monotonic() - started > STEADY_S else failures + 1
            say(f"HAProxy ended unasked; it starts again in {pause_s:g} s")
            time.sleep(pause_s)
            if self._asked:
                return 0

    def _keeper_ends(self) -> int:
        """Run a keeper to its end. Returns its exit code, negative after a signal."""
        # Blocked, so that none is lost before the one process knows the other, or has handlers of its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = self._keep()
            finally:
                os._exit(code)
        self._keeper = pid
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        _, status = os.waitpid(pid, 0)
        self._keeper = None
        return os.waitstatus_to_exitcode(status)

    def _pass_on(self, number: int, _: object) -> None:
        self._asked = True
        if self._keeper is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._keeper, number)
