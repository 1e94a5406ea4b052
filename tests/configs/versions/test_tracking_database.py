"""MLflow starts only on tables of its own version: older ones are changed before, later ones refused."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from configs.versions.formats import FormatError
from configs.versions.tracking_database import bring_tracking_database_up, check_tracking_database

LATER = "ffffffffffff"


# The tables as MLflow had them at a revision of theirs; prints the latest. Arguments: the database's URL, the revision.
MAKE = """
import sys
from alembic import command
from mlflow.store.db.utils import _get_alembic_config, _get_latest_schema_revision
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy import create_engine
Base.metadata.create_all(create_engine(sys.argv[1]))
command.upgrade(_get_alembic_config(sys.argv[1]), sys.argv[2])
print(_get_latest_schema_revision())
"""


def revision_of(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        found: str = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    return found


def test_without_a_database_there_is_nothing_to_do(tmp_path: Path) -> None:
    check_tracking_database(tmp_path)
    assert not bring_tracking_database_up(tmp_path, print)
    assert [*tmp_path.iterdir()] == []


def test_tables_of_a_later_mlflow_are_refused_and_stay_as_they_are(tmp_path: Path) -> None:
    database = tmp_path / "mlflow" / "mlflow.db"
    database.parent.mkdir()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (LATER,))
    before = database.read_bytes()
    with pytest.raises(FormatError, match=rf"mlflow\.db: its tables are of revision {LATER}, which MLflow [\d.]+ here"):
        check_tracking_database(tmp_path)
    assert database.read_bytes() == before


@pytest.mark.matrix
def test_tables_of_an_earlier_mlflow_are_changed_once_and_kept_beside(tmp_path: Path) -> None:
    database, earlier = tmp_path / "mlflow" / "mlflow.db", "1971f2d9a75b"
    database.parent.mkdir()
    command = [sys.executable, "-c", MAKE, f"sqlite:///{database}", earlier]
    latest = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
    check_tracking_database(tmp_path)
    assert bring_tracking_database_up(tmp_path, print)
    assert revision_of(database) == latest
    assert revision_of(database.with_name(f"mlflow.db.{earlier}")) == earlier
    assert not bring_tracking_database_up(tmp_path, print)
