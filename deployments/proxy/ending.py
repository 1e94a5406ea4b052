"""How one HAProxy answers what it has and ends: for the next one, or as the last."""

import math
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from deployments.proxy.admin_socket import HeldConnection
from deployments.proxy.config_text import frontends
from deployments.proxy.newcomers import held_off

END_S = 5.0
"""How long connections are kept that have no request: HAProxy closes each with its next answer."""
ANSWERS_S = 20.0
"""How long requests are waited for that are at hand after that. Each that has lost its replica is tried again for some
seconds; who ends the whole stack waits for 40 s (`stop_s` in deployments/local/stack_parts.py)."""
CHECK_S, DRAIN_CHECK_S = 0.1, 1.0
"""Between two looks at what is left: of the last one, and of one that another follows."""


class Ending:
    """The end of one HAProxy, once it was asked for.

    One that another follows is told to stop. The last one is not: what answers 503 where no other server is left would
    stop with it, and requests whose servers die later would lose their connections. It gets no more connections, and
    is killed when nothing is left.

    Args:
        haproxy: a child.
        admin_socket: where it answers; the name is the process id of its keeper.
        config: what it runs with.
        say: is told what cannot be done in order.

    Attributes:
        asked: whether it is to end.
    """

    def __init__(
        self, haproxy: subprocess.Popen[bytes], admin_socket: Path, config: Path, say: Callable[[str], None]
    ) -> None:
        self._haproxy, self._admin_socket, self._config, self._say = haproxy, admin_socket, config, say
        self._held: HeldConnection | None = None
        self._is_followed = self._is_last = False
        self._kept_until = self._answered_until = math.inf

    @property
    def asked(self) -> bool:
        return self._is_followed or self._is_last

    def follow(self) -> None:
        """Let it answer what it has: the next HAProxy has the listening sockets."""
        if not self.asked:
            self._hold()
            self._haproxy.send_signal(signal.SIGUSR1)
        self._is_followed = True

    def be_last(self, answers_s: float = ANSWERS_S) -> None:
        """Let it answer what it has. Requests have `END_S` and `answers_s` for that, or what an earlier call has
        left of its time."""
        if not self._is_last:
            self._is_last = True
            self._hold()
            if not self._is_followed:
                self._stop_listening()
        now = time.monotonic()
        self._kept_until = min(self._kept_until, now + END_S)
        self._answered_until = min(self._answered_until, now + END_S + answers_s)

    def go_on(self) -> float | None:
        """End it if nothing is left. Returns in how many seconds to ask again; None if it needs nothing more."""
        if self._is_last:
            if not self._has_something_left():
                self._haproxy.kill()
            return CHECK_S
        if self._held is None:
            return None
        if self._has_something_left():
            return DRAIN_CHECK_S
        self.close()
        return None

    def close(self) -> None:
        """Ask HAProxy nothing more. One that was told to stop ends with its last connection then."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def _hold(self) -> None:
        if self._held is None:
            try:
                self._held = HeldConnection(self._admin_socket)
            except OSError as error:
                self._say(f"HAProxy does not say what it has left: {error}")

    def _stop_listening(self) -> None:
        """Let it take the connections that wait for it, and no more."""
        with held_off(self._haproxy.pid, self._say):
            if self._held is not None:
                try:
                    self._held.stop_listening(frontends(self._config.read_text()))
                    return
                except OSError as error:
                    self._say(f"HAProxy does not stop listening, and is told to stop: {error}")
            self._haproxy.send_signal(signal.SIGUSR1)

    def _has_something_left(self) -> bool:
        """Whether it has something to do, and time for it."""
        now = time.monotonic()
        if self._held is None:  # It was told to stop, and ends by itself.
            return now < self._answered_until
        try:
            left = self._held.connections() if now < self._kept_until else self._held.requests()
        except OSError as error:
            self._say(f"HAProxy does not say what it has left: {error}")
            self.close()
            return True
        if now > self._answered_until:
            if left:
                self._say(f"{left} requests lose their connections: they took too long")
            return False
        return left > 0 or (self._is_last and not self._is_followed and self._others())

    def _others(self) -> bool:
        """Whether HAProxies before this one have something left. Where their servers die, this one answers 503."""
        return bool(keepers(self._admin_socket.parent) - {os.getpid()})


def keepers(folder: Path) -> set[int]:
    """Process ids of the keepers that live, of the HAProxies of one node."""
    return {pid for path in admin_sockets(folder) if Path(f"/proc/{(pid := keeper_of(path))}").exists()}


def admin_sockets(folder: Path) -> list[Path]:
    """Of the HAProxies of one node."""
    return [path for path in folder.glob("*") if path.name.isdigit()]


def keeper_of(admin_socket: Path) -> int:
    """Process id of the keeper of the HAProxy that answers there."""
    return int(admin_socket.name)
