"""Files that hold secrets, which only their owner may read."""

import os
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
