"""Questions to running parts over the network, asked without any of their client libraries."""

import json
import socket
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from configs.settings import Settings
from configs.store_users import passwords

# A proxy named in the environment must not stand between us and the loopback address.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class UnansweredError(Exception):
    """No usable answer; the message says why."""


def ask(url: str, token: str | None = None, method: str = "GET", content: Any = None, timeout_s: float = 5.0) -> bytes:
    """Body of a 2xx answer. `content` is sent as JSON.

    Raises:
        UnansweredError: nobody answers, too late, or with another status.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = None
    if content is not None:
        body = json.dumps(content).encode()
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 (http only, our own addresses)
    try:
        with _OPENER.open(request, timeout=timeout_s) as answer:
            received: bytes = answer.read()
            return received
    except urllib.error.HTTPError as error:
        raise UnansweredError(f"{url} answers {error.code}: {error.read(500).decode(errors='replace')}") from error
    except (OSError, ValueError) as error:
        raise UnansweredError(f"{url}: {error}") from error


def answers(url: str, token: str | None = None) -> bool:
    """Whether a GET gives 2xx."""
    try:
        ask(url, token, timeout_s=2.0)
    except UnansweredError:
        return False
    return True


def ask_json(url: str, token: str | None = None) -> Any:
    """Parsed JSON of a GET. Raises `UnansweredError`."""
    return json.loads(ask(url, token))


def listens(url: str, default_port: int) -> bool:
    """Whether something accepts connections at the host and port of `url`."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or default_port), timeout=2.0):
            return True
    except OSError:
        return False


def store_answers(settings: Settings) -> bool:
    """Whether the store on this machine has loaded its data and takes commands."""
    return store_greeting(settings).startswith(b"+PONG")


def store_greeting(settings: Settings) -> bytes:
    """What the store on this machine answers to a PING: an error while it loads its data; empty where it is silent."""
    password = passwords(settings.state_dir).get("console")
    login = b"" if password is None else f"AUTH console {password}\r\n".encode()
    received = b""
    try:
        with socket.create_connection(("127.0.0.1", settings.ports.store), timeout=2.0) as connection:
            connection.sendall(login + b"PING\r\n")
            while received.count(b"\n") < (2 if login else 1) and (part := connection.recv(1024)):
                received += part
    except OSError:
        return b""
    # Of a store from before there were passwords the first answer is an error, and the second one counts all the same.
    return received.rpartition(b"\n")[0].rpartition(b"\n")[2]
