"""Keeps HAProxy running for Ray, which starts it once, and then looks every 10 s whether it is there.

Two processes stand between Ray and HAProxy:

    Ray's manager of the proxy -> guard -> keeper -> HAProxy

The *guard* has the process id that Ray knows. It passes signals on and starts the keeper again when that is killed.
The *keeper* rewrites the configuration, starts HAProxy, takes the listening sockets of the HAProxy before it, answers
Ray on the admin socket, and ends when its HAProxy was told to end. Any of them may be killed:

- HAProxy: the keeper sees it at once and starts it again.
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

from deployments.proxy.keeper import PAUSES_S, SIGNALS, Keeper, parent_of, say


def main(arguments: Sequence[str]) -> int:
    """Run HAProxy as `haproxy ARGUMENTS` would, until it is told to end. Returns its exit code."""
    with contextlib.suppress(PermissionError):
        os.setsid()  # with its manager, Ray ends all of that one's process group
    guard = os.getpid()
    manager = os.getppid()
    # Taken while they live for certain: later another process may have the number.
    processes = {"guard": guard, "manager": manager, "ray": parent_of(manager)}
    watched = {name: os.pidfd_open(pid) for name, pid in processes.items()}
    return _Guard(lambda: Keeper(arguments, guard, watched).run()).run()


class _Guard:
    def __init__(self, keep: Callable[[], int]) -> None:
        self._keep = keep
        self._keeper: int | None = None
        self._asked = False
        for number in SIGNALS:
            signal.signal(number, self._pass_on)

    def run(self) -> int:
        kills = 0
        while (code := self._keeper_ends()) < 0 and not self._asked:
            pause_s = PAUSES_S[min(kills, len(PAUSES_S) - 1)]
            kills += 1
            say(f"the keeper was killed; it starts again in {pause_s:g} s")
            time.sleep(pause_s)
            if self._asked:
                break
        return max(code, 0)

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
