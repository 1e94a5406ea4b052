"""HAProxy's admin socket: questions to it, and the one that Ray asks, which answers in HAProxy's place.

Ray takes a process for the HAProxy that it started if that process's id is in the answer to `show info`. What it
started is the launcher, whose id therefore stands there instead of the real one's. Nor does Ray get to see the server
that is not among those which it asked for.
"""

import contextlib
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from deployments.proxy.config_text import UNAVAILABLE

ANSWER_S = 5.0
COMMAND_BYTES = 65_536
_OURS = re.compile(rb"(?m)^(?:[^,\n]*,)?%s,.*\n" % UNAVAILABLE.encode())
_CONNECTIONS = re.compile(rb"(?m)^(?!%s,)[^,\n]+,FRONTEND,[^,\n]*,[^,\n]*,(\d+)," % UNAVAILABLE.encode())
"""Of each frontend in the answer to `show stat`; those to HAProxy's own are HAProxy's own."""
_REQUEST = re.compile(rb"(?m)^0x\S+: .* fe=(?!GLOBAL )")
_PROMPT = b"\n> "
_PID = re.compile(rb"(?m)^Pid: (\d+)$")


def ask(path: Path, command: bytes, timeout_s: float = ANSWER_S) -> bytes:
    """The whole answer of the HAProxy that listens at `path`. Raises `OSError` without one."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        connection.sendall(command)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(COMMAND_BYTES):
            parts.append(part)
    return b"".join(parts)


def process_id(path: Path, timeout_s: float = ANSWER_S) -> int | None:
    """Of the HAProxy that answers at `path`; None if none does."""
    try:
        found = _PID.search(ask(path, b"show info\n", timeout_s))
    except OSError:
        return None
    return None if found is None else int(found[1])


class HeldConnection:
    """A connection to HAProxy's admin socket. One that was made before HAProxy was told to stop is answered until the
    end, when the socket takes no others; and HAProxy does not end while it is open.

    Args:
        path: of the admin socket.

    Raises:
        OSError: nobody answers there.
    """

    def __init__(self, path: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        try:
            self._connection.settimeout(ANSWER_S)
            self._connection.connect(str(path))
            self._ask(b"prompt")
        except OSError:
            self.close()
            raise

    def connections(self) -> int:
        """How many connections there are to clients. Raises OSError."""
        return sum(map(int, _CONNECTIONS.findall(self._ask(b"show stat -1 1 -1"))))

    def stop_listening(self, frontends: Sequence[str]) -> None:
        """Refuse new connections there and keep those that are: each is closed with its next answer. Raises OSError."""
        for name in frontends:
            self._ask(b"disable frontend %s" % name.encode())  # Alone it would leave connections open,
            self._ask(b"shutdown frontend %s" % name.encode())  # and this one the listening socket.

    def requests(self) -> int:
        """How many requests are at hand; a connection that is only kept alive has none. Raises OSError."""
        return len(_REQUEST.findall(self._ask(b"show sess")))

    def close(self) -> None:
        self._connection.close()

    def _ask(self, command: bytes) -> bytes:
        self._connection.sendall(command + b"\n")
        answer = b""
        while not answer.endswith(_PROMPT):
            part = self._connection.recv(COMMAND_BYTES)
            if not part:
                raise ConnectionError("HAProxy has closed the connection")
            answer += part
        return answer


class AdminSocket:
    """Listens where Ray asks, and passes on what HAProxy answers, under another process id.

    Args:
        path: where Ray asks. A socket that is there is replaced at once, so that Ray always finds one.
        behind: where HAProxy answers.
        process: the id that Ray expects.
    """

    def __init__(self, path: Path, behind: Path, process: int) -> None:
        self._behind = behind
        self._process = process
        self._listener = socket.socket(socket.AF_UNIX)
        aside = behind.with_name(f"{behind.name}.a")  # no longer than the path itself
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()
        before = os.umask(0o177)
        try:
            self._listener.bind(str(aside))
        finally:
            os.umask(before)
        self._listener.listen(16)
        aside.replace(path)

    def fileno(self) -> int:
        return self._listener.fileno()

    def answer(self) -> None:
        """Take one connection and answer its command. Whoever is too slow for that gets no answer."""
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            with client:
                client.settimeout(ANSWER_S)
                answer = _OURS.sub(b"", ask(self._behind, client.recv(COMMAND_BYTES)))
                client.sendall(_PID.sub(b"Pid: %d" % self._process, answer, count=1))

    def close(self) -> None:
        self._listener.close()
