"""Connections that wait in the kernel for HAProxy to take them, when it is about to stop listening.

The kernel resets what waits there when a listening socket is closed: on a busy machine that is a client which has just
connected. So new ones are held off first, what waits is taken, and only then HAProxy is told to stop.
"""

import contextlib
import ctypes
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TAKEN_S = 1.0
"""Longest wait for HAProxy to take what waits, and for its end of listening."""
HANDSHAKE_S = 0.05
"""A client whose first packet was let in has this long for its next one."""
LOOK_S = 0.005
_PIDFD_GETFD = 438  # the number of the system call on every architecture
_ATTACH_FILTER, _DETACH_FILTER = 26, 27
_LISTENING = "0A"
_WAITING = slice(24, 28)
"""Of the kernel's `tcp_info` of a listening socket: how many connections wait."""
# A program of the packet filter: byte 13 of a TCP packet has its flags; one with SYN and without ACK is dropped.
_NO_SYN = b"".join(
    struct.pack("HBBI", *step)
    for step in ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
)


@contextlib.contextmanager
def held_off(pid: int, say: Callable[[str], None]) -> Iterator[None]:
    """Hold off new connections from a process that listens, and go on when it has taken those which wait.

    In the body it is told to stop listening. A client that comes meanwhile asks again a second later, and is then let
    in by who took the sockets over, or refused.

    Args:
        pid: of a child.
        say: is told where the system does not let this process see the sockets of the other.
    """
    with contextlib.ExitStack() as until_closed:
        listening: list[socket.socket] = []
        try:
            for one in _listening(pid):
                listening.append(until_closed.enter_context(one))
                _attach(one)
                until_closed.callback(_detach, one)
        except OSError as error:
            say(f"connections that wait for HAProxy may be reset: {error}")
        if listening:
            time.sleep(HANDSHAKE_S)
        _wait(lambda: not any(map(_waiting, listening)))
        yield
        _wait(lambda: not any(_is_listening(one, pid) for one in listening))


def _attach(listening: socket.socket) -> None:
    program = ctypes.create_string_buffer(_NO_SYN)
    steps = len(_NO_SYN) // struct.calcsize("HBBI")
    listening.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", steps, ctypes.addressof(program)))


def _detach(listening: socket.socket) -> None:
    listening.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


def _listening(pid: int) -> Iterator[socket.socket]:
    """The process's listening TCP sockets, each as one of this process."""
    inodes = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING:
                    inodes.add(int(fields[9]))
    process = os.pidfd_open(pid)
    try:
        for descriptor, inode in _sockets(pid):
            if inode in inodes:
                own = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, descriptor, 0)
                if own < 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
                yield socket.socket(fileno=own)
    finally:
        os.close(process)


def _sockets(pid: int) -> Iterator[tuple[int, int]]:
    """Descriptor and inode of each socket that a process has."""
    with contextlib.suppress(FileNotFoundError):  # the process may end
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                kind, _, inode = path.readlink().name.partition(":")
                if kind == "socket":
                    yield int(path.name), int(inode.strip("[]"))


def _inodes(pid: int) -> set[int]:
    return {inode for _, inode in _sockets(pid)}


def _is_listening(one: socket.socket, pid: int) -> bool:
    """Whether it listens, and not for this process alone."""
    return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)) and os.fstat(one.fileno()).st_ino in _inodes(
        pid
    )


def _waiting(listening: socket.socket) -> int:
    return int.from_bytes(
        listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _WAITING.stop)[_WAITING], sys.byteorder
    )


def _wait(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + TAKEN_S
    while not condition() and time.monotonic() < give_up:
        time.sleep(LOOK_S)
