"""Files and folders that hold secrets, which only their owner may read."""

import os
import stat
import tempfile
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600 from its first byte, in place of what lies there, whatever mode that has.

    The text is written aside and renamed, so nobody reads a part of it, and a process that holds an older file with a
    wider mode open does not see the new text.
    """
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp gives it 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


class NotPrivateError(Exception):
    """A folder cannot be kept from others; the message says why."""


def make_private(folder: Path) -> None:
    """Make the folder if need be, and take from everybody but its owner the right to look into it, or into what lies
    in it, whatever rights were there. Links are not followed.

    Raises:
        NotPrivateError: it, or what lies in it, belongs to somebody else, or its file system keeps no rights.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = folder.resolve()
    if (owner := folder.stat().st_uid) != os.getuid():
        raise NotPrivateError(
            f"{folder} belongs to the user with the id {owner}, who could read the secrets in it: "
            f"chown it to {os.getuid()}, or set RAYCOMMEND_STATE_DIR to a folder of your own"
        )
    _close(folder)
    if folder.stat().st_mode & 0o077:
        raise NotPrivateError(
            f"the file system of {folder} keeps no rights, so others could read the secrets in it: "
            "set RAYCOMMEND_STATE_DIR to a folder on another"
        )
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            _close(Path(parent, name))


def _close(path: Path) -> None:
    try:
        found = os.lstat(path)
        if not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o077:
            path.chmod(stat.S_IMODE(found.st_mode) & ~0o077)
    except FileNotFoundError:
        pass  # A part that runs has removed it meanwhile.
    except PermissionError as error:
        raise NotPrivateError(
            f"{path} belongs to somebody else, and others may read it: remove it, or chown it to {os.getuid()}"
        ) from error
