"""The format of a state folder, as a file in it says. Versions before this file came are format 1."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from configs.versions.formats import STATE, FormatError
from configs.versions.program import program_version
from configs.versions.tracking_database import check_tracking_database


def check_state_format(state_dir: Path) -> None:
    """Raise `FormatError` where a later version, or a later MLflow, has written the folder. Nothing is changed."""
    found = _read(state_dir)
    if found is not None:
        STATE.check(found.get("format"), state_dir, found.get("written_by"))
    check_tracking_database(state_dir)


def mark_state_format(state_dir: Path) -> None:
    """Note that this version writes the folder from now on. Raises OSError, `FormatError`."""
    present = {"format": STATE.current, "written_by": program_version()}
    if _read(state_dir) == present:
        return
    descriptor, partial = tempfile.mkstemp(dir=state_dir, prefix=".format.json.")  # for its owner alone
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(present) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(state_dir / "format.json")
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _read(state_dir: Path) -> dict[str, Any] | None:
    """What the file says; None where there is none."""
    file = state_dir / "format.json"
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        found = error
    if not isinstance(found, dict):
        raise FormatError(
            f"{file}: it is damaged; if no later version than Raycommend {program_version()} has written the folder, "
            "remove the file and start again"
        )
    return found
