"""Tables of databases, by ADBC: SQLite, and a real PostgreSQL."""

import getpass
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.dataset import DataError
from data.mapping.plan import Sources, make_plan
from data.sources.open_table import ReadOptions, open_table

IN_CI = os.environ.get("CI") == "true"
if not IN_CI:
    pytest.importorskip("adbc_driver_sqlite", reason="the extra `sql` is not installed")
ROWS = [("c1", 7, "2026-01-01 10:00:00"), ("c2", 8, "2026-01-02 11:00:00")]


@pytest.fixture
def sqlite_file(tmp_path: Path) -> str:
    with sqlite3.connect(tmp_path / "shop.db") as base:
        base.execute("CREATE TABLE orders (customer TEXT, sku INTEGER, ordered_at TEXT)")
        base.executemany("INSERT INTO orders VALUES (?, ?, ?)", ROWS)
    base.close()
    return f"sqlite://{tmp_path}/shop.db"


def server_program(name: str) -> str | None:
    """A program of PostgreSQL's server, which Debian keeps off PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    initdb, pg_ctl = server_program("initdb"), server_program("pg_ctl")
    if initdb is None or pg_ctl is None:
        if IN_CI:
            pytest.fail("PostgreSQL must be there in CI")
        pytest.skip("there is no PostgreSQL (Debian: apt install postgresql)")
    # The server refuses to run as root.
    root = os.geteuid() == 0
    before = ["runuser", "-u", "postgres", "--"] if root else []
    user = "postgres" if root else getpass.getuser()
    folder = Path(f"/tmp/rc-pg-{os.getpid()}")
    folder.mkdir()
    if root:
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        data = str(folder / "data")
        subprocess.run([*before, initdb, "-D", data, "-A", "trust", "-U", user], check=True, capture_output=True)
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
        start = [*before, pg_ctl, "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start"]
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield f"postgresql://{user}@127.0.0.1:{port}/postgres"
        finally:
            stop = [*before, pg_ctl, "-D", data, "-m", "immediate", "-w", "stop"]
            subprocess.run(stop, check=True, stdout=subprocess.DEVNULL)
    finally:
        shutil.rmtree(folder)


def test_a_table_and_a_query_of_sqlite(sqlite_file: str) -> None:
    plan = make_plan(Sources(f"{sqlite_file}#orders"))
    assert (plan.chosen.name, plan.chosen.interactions.user_id) == ("orders", "customer")
    query = ReadOptions(query="SELECT sku FROM orders WHERE customer = 'c2'")
    assert [batch.table.to_pylist() for batch in open_table(sqlite_file, query).batches] == [[{"sku": 8}]]


def test_what_a_database_refuses_is_told(sqlite_file: str) -> None:
    with pytest.raises(DataError, match=r"no such table: nothing"):
        open_table(f"{sqlite_file}#nothing")
    with pytest.raises(DataError, match="say what to read: a table as"):
        open_table(sqlite_file)
    with pytest.raises(DataError, match=r"shop\.db#orders: the database refuses"):
        open_table("sqlite:///no/such/shop.db#orders")


def test_a_missing_driver_is_named(sqlite_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_sqlite.dbapi", None)
    with pytest.raises(DataError, match=r"pip install 'raycommend\[sql\]'"):
        open_table(f"{sqlite_file}#orders")


def test_a_table_and_a_query_of_postgresql(postgres: str) -> None:
    import adbc_driver_postgresql.dbapi

    with adbc_driver_postgresql.dbapi.connect(postgres) as base, base.cursor() as cursor:
        cursor.execute("CREATE TABLE orders (customer text, sku bigint, ordered_at timestamptz, price numeric(8,2))")
        cursor.execute("INSERT INTO orders VALUES ('c1', 7, '2026-01-01 10:00+02', 1.5), ('c2', 8, '2026-01-02', 2)")
        base.commit()
    plan = make_plan(Sources(f"{postgres}#orders"))
    assert (plan.chosen.interactions.time.column, plan.chosen.interactions.item_id) == ("ordered_at", "sku")
    query = ReadOptions(query="SELECT customer, sku FROM orders ORDER BY sku DESC LIMIT 1")
    [batch] = open_table(postgres, query).batches
    assert (batch.table.to_pylist(), batch.rows.tolist()) == ([{"customer": "c2", "sku": 8}], [1])


def test_a_password_is_in_no_message() -> None:
    with pytest.raises(DataError) as error:
        open_table("postgresql://me:secret@127.0.0.1:1/shop#orders")
    assert "secret" not in str(error.value)
