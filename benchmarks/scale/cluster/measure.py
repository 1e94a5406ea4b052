"""Processor time of one request in each process of the running stack, for the simulation: `... .cluster.measure`.

Start the stack (`make up`), then `python -m benchmarks.scale.cluster.measure`. Processor time is counted by the system
for each process, so other work on the machine changes it little, and requests a second a great deal: these are noted,
and the simulation is held against them only where the machine was idle (`--idle`).

What a list costs falls with the size of its micro-batch, since a call to retrieval costs both sides something whatever
it carries. Both parts come from several numbers of connections: time per request = own + call / batch size, by least
squares; the batch size is lists divided by the calls that retrieval counted.
"""

import argparse
import json
import os
import re
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from scipy.optimize import nnls

from benchmarks.measuring.load import run_load
from benchmarks.measuring.usage import usage
from benchmarks.serving import EVENT, expect_running, machine, user_body
from configs.settings import Settings, load_settings
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.redis.session import with_store

STORE = "Valkey"
KEPT = Path(__file__).parent / "service_times.json"
CONNECTIONS = (1, 8, 32, 128)
ROLES = ("Ranking", "Retrieval", "Ingestion", "HAProxy", STORE)
QUIET_S = 15.0
"""Ray exports its counters every ten seconds."""
_CALLS = re.compile(
    r'^ray_serve_deployment_request_counter_total\{[^}]*deployment="Retrieval-champion"[^}]*\} (\S+)$', re.M
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.cluster.measure", description=__doc__)
    parser.add_argument("--seconds", type=int, default=6, help="length of one run")
    parser.add_argument("--idle", action="store_true", help="nothing else runs on this machine")
    parser.add_argument("--out", type=Path, default=KEPT)
    args = parser.parse_args()
    settings = load_settings()
    url = f"http://127.0.0.1:{settings.ports.http}"
    expect_running(url)
    lists = f"{url}/api/v1/recommend"
    loads = {
        "uncached": (lists, user_body(', "filters": {"exclude_items": [\' .. n .. \']}')),
        "cached": (lists, user_body("")),
        "events": (f"{url}/api/v1/events", user_body(", \"item_id\": ' .. (n % 1682 + 1) .. ', " + EVENT)),
    }
    run_load(*loads["uncached"], 32, args.seconds)  # so that all is compiled and read
    idle = _idle(settings, args.seconds)
    runs = [
        {"kind": kind, **_run(settings, *loads[kind], connections, args.seconds, idle, kind)}
        for kind in loads
        for connections in CONNECTIONS
    ]
    report = {
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
        "idle": args.idle,
        "load_average": round(os.getloadavg()[1], 1),
        "runs": runs,
        "sync_us": round(sync_us(settings.state_dir), 1),
        "times_us": fitted(runs),
    }
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    json.dump(report, sys.stdout, indent=1)
    print()


def _spent(settings: Settings) -> dict[str, float]:
    """role -> seconds of processor time since its start. The store tells its own."""

    async def info(client: StoreClient, keys: Keys) -> dict[str, Any]:
        found: dict[str, Any] = await client.run("INFO", "cpu")
        return found

    told = with_store(settings, info)
    used = usage(settings)
    return {role: used[role].cpu_s for role in ROLES if role != STORE} | {
        STORE: float(told["used_cpu_user"]) + float(told["used_cpu_sys"])
    }


def _idle(settings: Settings, seconds: int) -> dict[str, float]:
    """Cores that each role uses without any request."""
    before, started = _spent(settings), time.monotonic()
    time.sleep(seconds)
    after, took = _spent(settings), time.monotonic() - started
    return {role: (after[role] - before[role]) / took for role in ROLES}


def _run(
    settings: Settings, address: str, body: str, connections: int, seconds: int, idle: dict[str, float], kind: str
) -> dict[str, Any]:
    if kind == "cached":
        run_load(address, body, 32, 3)  # so that the lists of all users are remembered
    calls = _calls(settings) if kind == "uncached" else 0.0
    before, client, started = _spent(settings), _children_s(), time.monotonic()
    load = run_load(address, body, connections, seconds)
    after, took = _spent(settings), time.monotonic() - started
    if load.errors:
        sys.exit(f"{load.errors} of {load.requests} requests failed: nothing that was measured counts")
    spent = {role: (after[role] - before[role] - idle[role] * took) / load.requests * 1e6 for role in ROLES}
    return {
        **{name: round(value, 2) for name, value in load.as_dict().items()},
        "batch": round(load.requests / (_calls(settings) - calls), 2) if kind == "uncached" else None,
        "us": {role: round(max(used, 0.0), 1) for role, used in spent.items()}
        | {"client": round((_children_s() - client) / load.requests * 1e6, 1)},
    }


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _calls(settings: Settings) -> float:
    """Calls that retrieval has answered, once the counter stands still."""
    seen, since = -1.0, time.monotonic()
    while time.monotonic() - since < QUIET_S:
        text = httpx.get(f"http://127.0.0.1:{settings.ports.metrics}/metrics", timeout=10).text
        found = sum(float(value) for value in _CALLS.findall(text))
        if found != seen:
            seen, since = found, time.monotonic()
        time.sleep(1.0)
    return seen


def sync_us(folder: Path, times: int = 300) -> float:
    """Median microseconds of appending 1 KB to a file there and syncing it, as the store does for its writes."""
    taken = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(times):
            file.write(bytes(1024))
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e6


def fitted(runs: list[dict[str, Any]]) -> dict[str, float]:
    """What the simulation takes, microseconds: own parts and parts of a call; the others as at 32 connections."""
    uncached = [run for run in runs if run["kind"] == "uncached"]
    parts: dict[str, float] = {}
    for role in ("Ranking", "Retrieval"):
        terms = np.array([[1.0, 1.0 / run["batch"]] for run in uncached])
        (own, call), _ = nnls(terms, np.array([run["us"][role] for run in uncached]))
        parts |= {f"{role} own": own, f"{role} call": call}
    at = {run["kind"]: run["us"] for run in runs if run["connections"] == 32}
    parts |= {f"{STORE} {kind}": at[kind][STORE] for kind in at}
    parts |= {"Ranking cached": at["cached"]["Ranking"], "Ingestion": at["events"]["Ingestion"]}
    parts |= {role: statistics.median(one[role] for one in at.values()) for role in ("HAProxy", "client")}
    return {name: round(float(value), 1) for name, value in parts.items()}


if __name__ == "__main__":
    main()
