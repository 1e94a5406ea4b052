"""`python -m benchmarks.scale.import_rows --rows 1000000`: generated rows are imported from a CSV, and trained on.

Starts a store of its own in a temporary folder, and needs nothing else. Ids are texts, the history is years old, so it
goes in bulk; before that, `--by-row` rows go one by one, which is the floor. Each step runs in a process of its own,
whose processor time and peak of memory are printed. `--train` reads the log for a training, fits the first
stage and judges it; no search and no ranker. With `--dataset` the rows become the data set, as with `make up DATA=`,
and no store is started.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import yaml

from configs.settings import PROJECT_DIR, Settings
from deployments.local.probes import store_answers
from deployments.local.stack_parts import store_binary

_FIRST_S = 1_600_000_000
_TRAIN = """
import sys
from configs.settings import load_settings
from features.users.erasure import Erasures
from jobs.train.fit_bundle import evaluate_latest
from jobs.train.load_data import load_training_data
from models.factors.als import AlsParameters
settings = load_settings()
data = load_training_data(settings, Erasures({}))
print(f"{len(data):,} events of {len(data.users):,} users with {len(data.items):,} items", flush=True)
metrics = evaluate_latest(data, settings, AlsParameters(factors=settings.training.factors), 0)
print(f"NDCG@10 {metrics['ndcg_at_10']:.4f}, of popularity {metrics['popularity_ndcg_at_10']:.4f}")
"""
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


def run(what: str, command: Sequence[str], config: Path) -> float:
    """Run a step to its end and print what it took. Returns its seconds by the clock."""
    started = time.perf_counter()
    environment = {**os.environ, "RAYCOMMEND_CONFIG": str(config)}
    with subprocess.Popen([sys.executable, *command], cwd=PROJECT_DIR, env=environment) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{what} failed")
    processor_s, peak_gb = used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6
    print(f"{what}: {wall_s:.1f} s, {processor_s:.1f} s of processor time, peak {peak_gb:.2f} GB", flush=True)
    return wall_s


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.import_rows", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--by-row", type=int, default=20_000, help="rows of the floor; 0 for none")
    parser.add_argument("--train", action="store_true")
    parser.add_argument(
        "--dataset", action="store_true", help="the rows become the data set; nothing goes into a store"
    )
    parser.add_argument("--port", type=int, default=12_990, help="of the store that is started")
    given = parser.parse_args(arguments)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "settings.yaml"
        settings = {
            "state_dir": str(folder / "state"),
            "data_dir": str(folder / "data"),
            "store": {"url": f"redis://127.0.0.1:{given.port}/0"},
            "data": {"events": "shops"},
        }
        config.write_text(yaml.safe_dump(settings))
        if given.dataset:
            path = folder / "rows.csv"
            _write(path, given.rows)
            config.write_text(yaml.safe_dump(settings | {"data": {"events": "shops", "source": str(path)}}))
            run(f"{given.rows:,} rows as the data set", ["-m", "data.prepare"], config)
            path.unlink()
            if given.train:
                run("data and first stage of a training", ["-c", _TRAIN], config)
            return 0
        (folder / "store").mkdir()
        command = [store_binary(), "--bind", "127.0.0.1", "--port", str(given.port), "--dir", str(folder / "store")]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as store:
            try:
                while not store_answers(Settings(state_dir=folder, ports={"store": given.port})):
                    if store.poll() is not None:
                        raise SystemExit("the store did not start")
                    time.sleep(0.05)
                run("two interactions as a data set", ["-c", _SEED_DATA], config)
                run("their features", ["-m", "jobs.rebuild_features"], config)
                for n, how in ((given.by_row, "row by row"), (given.rows, "in bulk")):
                    if n:
                        path = folder / f"{n}.csv"
                        _write(path, n)
                        wall_s = run(f"import of {n:,} rows {how}", ["-m", "jobs.import_events", str(path)], config)
                        print(f"  {n / wall_s:,.0f} rows a second, {path.stat().st_size / 1e6:.0f} MB")
                        path.unlink()
                if given.train:
                    run("data and first stage of a training", ["-c", _TRAIN], config)
            finally:
                store.terminate()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
