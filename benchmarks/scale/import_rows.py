"""`python -m benchmarks.scale.import_rows --rows 1000000`: generated rows are imported from a CSV, and trained on.

Starts a store of its own in a temporary folder, and needs nothing else. Ids are texts, the history is years old, so it
goes in bulk; before that, `--by-row` rows go one by one, which is the floor. Each step runs in a process of its own,
whose processor time and peak of memory are printed. `--train` runs a whole `jobs.retrain` on them, without a registry.
With `--dataset` the rows become the data set, as with `make up DATA=`, and nothing goes into a store.
"""

import argparse
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import yaml

from benchmarks.scale.measured_run import run
from configs.settings import Settings
from data.dataset import DataError, read_meta
from deployments.local.probes import store_answers
from deployments.local.stack_parts import store_binary

_FIRST_S = 1_600_000_000
_SEED_DATA = """
from pathlib import Path
import pandas as pd
from configs.settings import load_settings
from data.dataset import Tables
from data.dataset_writer import write_dataset
from data.dataset import processed_dir
frame = pd.DataFrame({"user_id": ["user-0", "user-1"], "item_id": ["item-0", "item-1"], "event_type": "purchase",
    "value": pd.array([None, None], "float32"), "timestamp_ms": [1_600_000_000_000] * 2})
items = pd.DataFrame({"item_id": ["item-0", "item-1"], "title": ["0", "1"], "year": pd.array([None, None], "Int16"),
    "categories": [["a"], ["b"]], "added_ms": pd.array([None, None], "Int64")})
users = pd.DataFrame({"user_id": ["user-0", "user-1"]})
write_dataset(processed_dir(load_settings()), Tables(frame, items, users), "two", "benchmark", "", ("str", "str"))
"""


def write_rows(path: Path, n_rows: int, n_users: int, n_items: int, block: int = 1_000_000) -> None:
    """A CSV of purchases by users of unequal activity, of items whose popularity follows Zipf's law."""
    generator = np.random.default_rng(0)
    popularity = np.cumsum(1.0 / np.arange(20, n_items + 20))
    texts = [(name, pa.string()) for name in ("user_id", "item_id", "event_type")]
    schema = pa.schema([*texts, ("timestamp", pa.int64())])
    with pyarrow.csv.CSVWriter(path, schema, write_options=pyarrow.csv.WriteOptions(quoting_style="none")) as writer:
        for start in range(0, n_rows, block):
            n = min(block, n_rows - start)
            users = (n_users * generator.random(n) ** 2).astype(np.int64)
            items = np.searchsorted(popularity / popularity[-1], generator.random(n)).clip(0, n_items - 1)
            columns = [
                pa.array([f"user-{user}" for user in users.tolist()]),
                pa.array([f"item-{item}" for item in items.tolist()]),
                pa.array(["purchase"] * n),
                pa.array(_FIRST_S + start + np.arange(n)),
            ]
            writer.write_table(pa.table(columns, schema=schema))


def _write(path: Path, n_rows: int) -> None:
    write_rows(path, n_rows, max(2, n_rows // 145), max(2, min(100_000, n_rows // 20)))


@contextmanager
def _store(folder: Path, port: int) -> Iterator[None]:
    """An empty store at this port, which writes to `folder` and syncs every write."""
    folder.mkdir(exist_ok=True)
    command = [store_binary(), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as store:
        try:
            while not store_answers(Settings(state_dir=folder.parent, ports={"store": port})):
                if store.poll() is not None:
                    raise SystemExit("the store did not start")
                time.sleep(0.05)
            yield
        finally:
            store.terminate()


def _as_dataset(folder: Path, settings: dict[str, Any], rows: int) -> Path:
    """Make the rows a data set in `folder`, unless they are there already. Returns the path of the settings."""
    config, path = folder / "settings.yaml", folder / "rows.csv"
    config.write_text(yaml.safe_dump(settings))
    try:
        kept = read_meta(folder / "data" / "processed").n_interactions == rows
    except DataError:
        kept = False
    if not kept:
        _write(path, rows)
        own = folder / "import.yaml"
        own.write_text(yaml.safe_dump(settings | {"data": {"events": "shops", "source": str(path)}}))
        run(f"{rows:,} rows as the data set", ["-m", "data.prepare"], own)
        path.unlink()
    return config


def _import(folder: Path, settings: dict[str, Any], rows: int, by_row: int) -> Path:
    """Import rows into the running store, one by one and in bulk. Returns the path of the settings."""
    config = folder / "settings.yaml"
    config.write_text(yaml.safe_dump(settings))
    run("two interactions as a data set", ["-c", _SEED_DATA], config)
    run("their features", ["-m", "jobs.rebuild_features"], config)
    for n, how in ((by_row, "row by row"), (rows, "in bulk")):
        if n:
            path = folder / f"{n}.csv"
            _write(path, n)
            used = run(f"import of {n:,} rows {how}", ["-m", "jobs.import_events", str(path)], config)
            print(f"  {n / used.wall_s:,.0f} rows a second, {path.stat().st_size / 1e6:.0f} MB")
            path.unlink()
    return config


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.import_rows", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--by-row", type=int, default=20_000, help="rows of the floor; 0 for none")
    parser.add_argument("--train", action="store_true", help="a whole retraining on them: search, ranker and bundle")
    parser.add_argument("--dataset", action="store_true", help="the rows become the data set, as with `make up DATA=`")
    parser.add_argument("--trials", type=int, default=8, help="of the search of --train; 0 for none")
    parser.add_argument("--limit-gb", type=float, default=12.0, help="memory beyond which a training is stopped")
    parser.add_argument("--port", type=int, default=12_990, help="of the store that is started")
    parser.add_argument("--folder", type=Path, help="keeps the data set of --dataset for the next run")
    given = parser.parse_args(arguments)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, load {os.getloadavg()[0]:.1f}", flush=True)
    search = ["--trials", str(given.trials)] if given.trials else ["--no-search"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) if given.folder is None else given.folder.absolute()
        folder.mkdir(exist_ok=True)
        settings = {
            "state_dir": str(Path(name) / "state"),
            "data_dir": str(folder / "data"),
            "store": {"url": f"redis://127.0.0.1:{given.port}/0"},
            "data": {"events": "shops"},
        }
        if given.dataset and not given.train:
            _as_dataset(folder, settings, given.rows)
            return 0
        with _store(Path(name) / "store", given.port):
            if given.dataset:
                config = _as_dataset(folder, settings, given.rows)
            else:
                config = _import(folder, settings, given.rows, given.by_row)
            if given.train:
                run("the training", ["-m", "jobs.retrain", *search], config, given.limit_gb)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
