"""The secret with which erased users' ids are hashed: who reads the store alone cannot try ids against the tombstones.

It lies beside the event log, which every process that asks the tombstones reaches, and is copied by a backup.
"""

import os
import secrets
import tempfile
from hashlib import blake2b
from pathlib import Path

NAME = "erasure_key"


def key_path(log_dir: Path) -> Path:
    """Where the key of a log's store lies."""
    return log_dir / NAME


def read_key(log_dir: Path) -> bytes | None:
    """The key; None where none was made yet."""
    try:
        return key_path(log_dir).read_bytes().strip()
    except FileNotFoundError:
        return None


def make_key(log_dir: Path) -> bytes:
    """The key, made at first use, with mode 0600. Of several processes that make one at once, all get the first's."""
    path = key_path(log_dir)
    found = read_key(log_dir)
    if found is not None:
        return found
    log_dir.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=log_dir, prefix=f".{NAME}.")  # mkstemp gives it 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        Path(partial).unlink()
    return path.read_bytes().strip()


def fingerprint(key: bytes) -> str:
    """What tells two keys apart and gives neither away."""
    return blake2b(b"fingerprint", digest_size=8, key=key).hexdigest()
