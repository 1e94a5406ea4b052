"""One HAProxy from its start to its end: see `launcher` for who watches whom."""

import contextlib
import ctypes
import dataclasses
import os
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from configs.groups.proxy import Proxy, from_environment
from deployments.proxy.admin_socket import AdminSocket, process_id
from deployments.proxy.config_text import RESERVED, TemplateError, rewritten, with_socket
from deployments.proxy.ending import Ending, admin_sockets, keeper_of

BINARY_VARIABLE = "HAPROXY_BINARY"
SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
"""Asked to end, after the requests at hand: the first where another follows, the others as the last one."""
PAUSES_S = (0.0, 0.0, 0.2, 0.5, 1.0)
"""Before each new start, if the HAProxy before it did not last; the last one from then on."""
STEADY_S = 5.0
START_S = 20.0
LOOK_S = 0.01
PREDECESSOR_S = 1.0
NEXT_MANAGER_S = 60.0
"""How long HAProxy goes on after Ray's manager of the proxy has died, which Ray replaces within some seconds."""
ORDERLY_S = 3.0
"""Serve ends the proxy and its manager right after it. If the proxy was killed, Ray replaces the manager after 20 s."""
OWN_FILES = 400
"""Open files beside those of clients and replicas."""
_PR_SET_PDEATHSIG = 1


def say(text: str) -> None:
    """A line in the log: Ray keeps one of the standard error of each start, beside the admin socket."""
    print(f"launcher: {text}", file=sys.stderr, flush=True)


class Keeper:
    """Starts HAProxy and stays with it.

    Args:
        arguments: as Ray gives them to HAProxy.
        guard: the process that Ray started.
        watched: file descriptors of the processes `guard`, `manager` and `ray`.
    """

    def __init__(self, arguments: Sequence[str], guard: int, watched: Mapping[str, int]) -> None:
        self._config, self._arguments = _parsed(arguments)
        self._is_first = "-sf" not in arguments
        self._guard = guard
        self._watched = dict(watched)
        self._asked: list[int] = []
        self._guard_gone_at: float | None = None
        self._give_up: float | None = None

    def run(self) -> int:
        """Keep HAProxy until it is told to end. Returns the exit code."""
        _rename(f"proxy keeper: {Path(self._config).parent}")
        self._wakeup, wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda number, _: self._asked.append(number))
        failures, was_up = 0, False
        while True:
            started = time.monotonic()
            code, is_up = self._once()
            was_up |= is_up
            if self._asked or code == 0 or not was_up:
                return code
            pause_s = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
            failures = 0 if time.monotonic() - started > STEADY_S else failures + 1
            say(f"HAProxy ended unasked; it starts again in {pause_s:g} s")
            time.sleep(pause_s)
            if self._asked:
                return 0

    def _once(self) -> tuple[int, bool]:
        """One HAProxy to its end. Returns its exit code, 0 where it was told to end, and whether it ever answered."""
        text = Path(self._config).read_text()
        own = self._own = self._own_socket(text)
        predecessors = _predecessors(own.parent)
        try:
            code = self._start(text, own, predecessors)
            if code is not None:
                return code, False
            for path, haproxy in predecessors.items():
                with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                    # Without its keeper, it was told to stop already.
                    if (keeper := parent_of(haproxy)) == keeper_of(path):
                        os.kill(keeper, signal.SIGUSR1)
            return self._stay(own), True
        finally:
            own.unlink(missing_ok=True)

    def _own_socket(self, text: str) -> Path:
        """Where the real HAProxy answers: beside Ray's socket, with a name that is no longer."""
        _, rays = with_socket(text, "")
        self._rays_socket = Path(rays)
        return self._rays_socket.with_name(str(os.getpid()))

    def _start(self, text: str, own: Path, predecessors: dict[Path, int]) -> int | None:
        """Start HAProxy, and wait until it answers. Returns its exit code where it ended instead."""
        tried = Path(f"{self._config}.{self._guard}")
        takes_over = ["-x", str(list(predecessors)[-1])] if predecessors else []
        code = 1
        for attempt, content in enumerate(self._versions(text, predecessors)):
            if attempt:
                say("HAProxy does not take this configuration; the next one is used, which is Ray's as it is at last")
            tried.write_text(with_socket(content, str(own))[0])
            self._haproxy = subprocess.Popen(
                [_binary(), *self._arguments, "-f", str(tried), *takes_over], preexec_fn=_with_parent
            )
            # Only now, so that a signal has somebody to reach.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            give_up = time.monotonic() + START_S
            while self._haproxy.poll() is None and time.monotonic() < give_up:
                if process_id(own) == self._haproxy.pid:
                    tried.replace(self._served)
                    return None
                time.sleep(LOOK_S)
            if self._haproxy.poll() is None:
                self._haproxy.kill()
            code = self._haproxy.wait() or 1
            if self._asked:
                break
        tried.unlink(missing_ok=True)
        return code

    @property
    def _served(self) -> Path:
        """What HAProxy runs with."""
        return Path(f"{self._config}.served")

    def _versions(self, text: str, predecessors: dict[Path, int]) -> list[str]:
        """The configurations to try: ours, and if HAProxy does not take that, Ray's own rather than none.

        Where the manager before died, the next one starts without knowing an application. Until it knows them, which it
        says by the next start, what the HAProxy before had is served.
        """
        before = [self._served.read_text()] if self._is_first and predecessors and self._served.exists() else []
        try:
            ours = rewritten(text, _fitting(from_environment(os.environ)))
        except (TemplateError, ValueError) as error:
            say(f"Ray's configuration is used as it is, without our limits and answers: {error}")
            return [*before, text]
        return [*before, ours, text]

    def _stay(self, own: Path) -> int:
        haproxy = os.pidfd_open(self._haproxy.pid)
        self._ending = Ending(self._haproxy, own, self._served, say)
        with selectors.DefaultSelector() as events:
            events.register(self._wakeup, selectors.EVENT_READ, "signal")
            events.register(haproxy, selectors.EVENT_READ, "haproxy")
            for name, descriptor in self._watched.items():
                events.register(descriptor, selectors.EVENT_READ, name)
            admin = None
            if "guard" in self._watched:
                admin = AdminSocket(self._rays_socket, own, self._guard)
                events.register(admin, selectors.EVENT_READ, "admin")
            try:
                return self._until_it_ends(events, admin)
            finally:
                os.close(haproxy)
                self._ending.close()
                if admin is not None:
                    admin.close()

    def _until_it_ends(self, events: selectors.BaseSelector, admin: AdminSocket | None) -> int:
        patience = None
        while True:
            for key, _ in events.select(patience):
                if key.data == "haproxy":
                    code = self._haproxy.wait()
                    return 0 if self._ending.asked else code
                if key.data == "signal":
                    os.read(self._wakeup, 64)
                    self._do_what_was_asked()
                elif key.data != "admin":
                    events.unregister(key.fileobj)
                    del self._watched[key.data]
                    self._gone(key.data)
                elif admin is not None and "guard" in self._watched:
                    admin.answer()
            if admin is not None and "guard" not in self._watched and "admin" in _names(events):
                # Ray finds out by this that it must start the proxy anew.
                events.unregister(admin)
                admin.close()
            if self._give_up is not None and time.monotonic() > self._give_up:
                self._give_up = None
                self._ending.be_last(NEXT_MANAGER_S)
            patience = self._ending.go_on() if self._ending.asked else None
            if patience is None and self._give_up is not None:
                patience = max(0.0, self._give_up - time.monotonic()) + LOOK_S

    def _gone(self, name: str) -> None:
        if name == "ray":
            say("Ray has ended, and so does HAProxy")
            self._ending.be_last()
        elif name == "guard":
            self._guard_gone_at = time.monotonic()
            if "manager" not in self._watched:
                self._ending.be_last(NEXT_MANAGER_S)
        elif self._guard_gone_at is not None and time.monotonic() - self._guard_gone_at < ORDERLY_S:
            self._ending.be_last(NEXT_MANAGER_S)
        else:
            say("Ray's manager of the proxy has died; HAProxy goes on until the next one has started another")
            self._give_up = time.monotonic() + NEXT_MANAGER_S

    def _do_what_was_asked(self) -> None:
        while self._asked:
            if self._asked.pop(0) == signal.SIGUSR1:
                self._ending.follow()
            else:
                self._ending.be_last()


def parent_of(pid: int) -> int:
    """Raises `FileNotFoundError` where there is no such process."""
    # After the command's name, which may hold anything, come the state and the parent.
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _names(events: selectors.BaseSelector) -> set[str]:
    return {key.data for key in events.get_map().values()}


def _rename(title: str) -> None:
    """Call this process otherwise: who kills all that is called haproxy leaves the one that starts it again."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # of the arguments
    room = end - start
    ctypes.memmove(start, title.encode()[: room - 1].ljust(room, b"\0"), room)


def _parsed(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The file of the configuration, and what else HAProxy is to get. Whom it follows, the keeper finds out."""
    config, kept = "", []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "-f":
            config = waiting.pop(0)
        elif argument == "-x":
            waiting.pop(0)
        elif argument in ("-sf", "-st"):
            while waiting and waiting[0].isdigit():
                waiting.pop(0)
        else:
            kept.append(argument)
    if not config:
        raise SystemExit("launcher: no -f with the file of the configuration")
    return config, kept


def _fitting(limits: Proxy) -> Proxy:
    """The limits with as many connections as this process may open files; HAProxy counts two for each."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = limits.connections if most == resource.RLIM_INFINITY else (most - OWN_FILES) // 2 - RESERVED
    if room >= limits.connections:
        return limits
    room = max(room, 1)
    say(f"only {room} connections instead of {limits.connections}: this process may open {most} files (ulimit -n)")
    per_source = max(1, limits.connections_per_source * room // limits.connections)
    return dataclasses.replace(limits, connections=room, connections_per_source=per_source)


def _predecessors(folder: Path) -> dict[Path, int]:
    """Admin sockets of HAProxies that serve the same node, with their process ids, the latest last."""
    found = {}
    for path in sorted(admin_sockets(folder), key=lambda path: path.stat().st_mtime):
        pid = process_id(path, PREDECESSOR_S)
        if pid is not None:
            found[path] = pid
    return found


def _binary() -> str:
    """The real HAProxy. Raises `SystemExit` without one."""
    found = os.environ.get(BINARY_VARIABLE) or shutil.which("haproxy")
    if found is None:
        raise SystemExit(f"launcher: {BINARY_VARIABLE} does not name the real HAProxy, and there is none on PATH")
    return found


def _with_parent() -> None:
    """In the new process: finish the requests at hand when the keeper dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    # Who ends all of Ray's processes asks HAProxy, too, which would drop what it has; the keeper ends it in order.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
