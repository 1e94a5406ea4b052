"""Who may ask the MLflow that the stack runs itself: one user, with a password in the state folder.

Processes read it there when they connect, as they do with the passwords of the store: it stands in no command line, no
log and none of the settings that travel to the replicas.
"""

import os
import secrets
from pathlib import Path

from configs.addresses import without_credentials

USER = "raycommend"
FILE = "mlflow_password"


def own_address(port: int) -> str:
    """Address of the MLflow that the stack runs itself, without user and password."""
    return f"http://127.0.0.1:{port}"


def is_own(given: str | None, port: int) -> bool:
    """Whether an address of the settings means the stack's own MLflow; None does."""
    return given is None or without_credentials(given) == own_address(port)


def uri(given: str | None, state_dir: Path, port: int) -> str:
    """The address to ask: of the stack's own MLflow with user and password, unless it has none yet. Raises OSError."""
    if given is not None and not is_own(given, port):
        return given
    known = password(state_dir)
    return own_address(port) if known is None else f"http://{USER}:{known}@127.0.0.1:{port}"


def password(state_dir: Path) -> str | None:
    """The password; None where there is none: an MLflow of an earlier version, which asked nobody. Raises OSError."""
    file = state_dir / FILE
    return file.read_text().strip() if file.is_file() else None


def prepare(state_dir: Path) -> None:
    """Make the password unless there is one; only its owner can read it. Raises OSError."""
    if password(state_dir):
        return
    partial = state_dir / f".{FILE}.partial"
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
    partial.replace(state_dir / FILE)
