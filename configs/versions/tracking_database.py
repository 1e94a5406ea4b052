"""The database of the stack's own MLflow: MLflow refuses to start on the tables of another version of itself."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from configs.versions.formats import FormatError

_REVISIONS = re.compile(r"^(revision|down_revision)\b[^=\n]*=\s*[\"'](\w+)[\"']", re.MULTILINE)


def check_tracking_database(state_dir: Path) -> None:
    """Raise `FormatError` where a later MLflow has changed the tables. Nothing is changed."""
    database = _database(state_dir)
    if (found := _revision(database)) is not None and found not in _known():
        raise FormatError(
            f"{database}: its tables are of revision {found}, which MLflow {version('mlflow')} here does not know: a "
            "later MLflow has written them. Run the version of Raycommend that did, or move the file away: the "
            "registry begins anew then, and the models that are served stay"
        )


def bring_tracking_database_up(state_dir: Path, say: Callable[[str], None]) -> bool:
    """Give the tables of an earlier MLflow the present form, before MLflow starts. The file as it was stays beside it.

    Returns:
        Whether there was anything to do.

    Raises:
        FormatError: MLflow could not; the file is as it was.
    """
    database = _database(state_dir)
    found = _revision(database)
    if found is None or found == _latest():
        return False
    before = database.with_name(f"{database.name}.{found}")
    _copy(database, before)
    command = [str(Path(sys.executable).parent / "mlflow"), "db", "upgrade", f"sqlite:///{database}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        _copy(before, database)
        raise FormatError(f"{database}: `mlflow db upgrade` could not change its tables: {done.stderr.strip()[-500:]}")
    say(f"mlflow: its database has the tables of this version now; as it was it lies in {before.name}")
    return True


def _copy(source: Path, target: Path) -> None:
    """By SQLite itself, which knows what of a database lies in files beside its own."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _database(state_dir: Path) -> Path:
    return state_dir / "mlflow" / "mlflow.db"


def _revision(database: Path) -> str | None:
    """The revision of the tables; None where there are none yet. Of a file that is no database MLflow tells itself when
    it starts."""
    if not database.is_file():
        return None
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.DatabaseError:  # no such table, or no database
            return None
    return None if row is None else str(row[0])


def _known() -> dict[str, str | None]:
    """Revision -> the one before it, of the installed MLflow. Read as text: importing MLflow takes seconds."""
    spec = find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    found: dict[str, str | None] = {}
    for file in (Path(spec.origin).parent / "store" / "db_migrations" / "versions").glob("*.py"):
        names = dict(_REVISIONS.findall(file.read_text()))
        if "revision" in names:
            found[names["revision"]] = names.get("down_revision")
    return found


def _latest() -> str:
    """The revision that no other follows."""
    known = _known()
    (latest,) = known.keys() - {*known.values()}
    return latest
