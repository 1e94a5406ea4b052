"""`make up` of an older version on a state folder of a newer one: refused before anything is changed."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from configs.settings import Settings
from configs.versions.formats import STATE
from configs.versions.program import program_version
from tests.conftest import local_stack


def content(folder: Path) -> dict[str, bytes]:
    """Each file by its path; not the note of who is at work."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_folder_of_a_later_version_is_refused(idle_settings: Settings) -> None:
    state_dir, later = idle_settings.state_dir, STATE.current + 1
    (state_dir / "store").mkdir(parents=True)
    (state_dir / "store" / "events").write_bytes(b"of a later version")
    (state_dir / "format.json").write_text(json.dumps({"format": later, "written_by": "9.9.9"}))
    before = content(state_dir)
    done = local_stack(idle_settings, "up")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"{state_dir}: a state folder of format {later}, written by Raycommend 9.9.9; this is Raycommend "
        f"{program_version()}, which reads formats {STATE.oldest} to {STATE.current}: run the version that wrote it, "
        "or a later one; to go back, restore a backup of the older version into an empty state folder\n"
    )
    assert content(state_dir) == before


def test_a_registry_of_a_later_mlflow_is_refused(idle_settings: Settings) -> None:
    state_dir = idle_settings.state_dir
    (state_dir / "mlflow").mkdir(parents=True)
    with closing(sqlite3.connect(state_dir / "mlflow" / "mlflow.db")) as connection, connection:
        connection.execute("CREATE TABLE alembic_version AS SELECT 'ffffffffffff' AS version_num")
    before = content(state_dir)
    done = local_stack(idle_settings, "up")
    assert done.returncode == 2
    assert "mlflow.db: its tables are of revision ffffffffffff" in done.stderr
    assert content(state_dir) == before
