"""What grows with users, items and replicas, and what does not.

    users      a store of its own with 1,000 users and with more: reading a user, recording events (`benchmarks.store`)
    items      retrieval of 100 candidates for one user, and what a ranking replica holds of the catalogue
    replicas   requests per second with one and with two replicas of Ranking and Retrieval on the running stack

Start the stack (`make up`), then `python -m benchmarks.growth`.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks import index, store
from benchmarks.measuring.load import run_load
from benchmarks.measuring.plots import plot_growth
from benchmarks.serving import expect_running, machine, user_body
from configs.settings import Settings, load_settings
from deployments.local.ray_environment import client_environment

READY_S = 120.0


def users_curve(users: list[int], port: int) -> dict[str, Any]:
    """Medians against the number of users in the store."""
    reads, events, sizes = [], [], []
    for count in users:
        with store.own_server(port) as small, store.own_server(port + 1) as large:
            found = asyncio.run(store.measure([small, large], count, 2000, 10_000, 2))
        reads.append(found[f"reads ({count} users)"]["read_users_1_us"])
        events.append(found[f"events/s ({count} users)"]["record_events_1000"])
        sizes.append(found[f"bytes ({count} users)"]["per_user"])
        print(f"{count:>10} users: read {reads[-1]:.0f} us, {events[-1]:,.0f} events/s, {sizes[-1]:,.0f} bytes a user")
    lines = {"read a user, us": reads, "events/s / 100": [rate / 100 for rate in events], "bytes a user": sizes}
    return {"title": "users", "of": "users in the store", "x": users, "lines": lines}


def items_curve(items: list[int]) -> dict[str, Any]:
    """Milliseconds of one retrieval by the index and exactly, and MB of the catalogue in a ranking replica."""
    rows = [index.measure(count) for count in items]
    memory = [catalogue_mb(count) for count in items]
    for count, used in zip(items, memory, strict=True):
        print(f"{count:>10} items: {used:,.0f} MB for the catalogue in a ranking replica")
    lines = {
        "index, ms": [row["index_ms"] for row in rows],
        "exact, ms": [row["exact_ms"] for row in rows],
        "catalogue in Ranking, GB": [used / 1000 for used in memory],
    }
    return {"title": "items", "of": "items in the catalogue", "x": items, "lines": lines}


_CATALOGUE = """
import resource, sys
from pathlib import Path
from features.items.catalogue import Item, pack_item, unpack_item

def resident():
    # Not ru_maxrss: a child begins with its parent's.
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

start = resident()
items = {}
for n in range(int(sys.argv[1])):
    item = unpack_item(pack_item(Item(str(n), f"A title of usual length {n}", 1990, ("Drama", "Comedy"))))
    items[item.item_id] = item
print((resident() - start) / 1e6)
"""


def catalogue_mb(items: int) -> float:
    """What the view of the catalogue takes, measured in a process of its own."""
    command = [sys.executable, "-c", _CATALOGUE, str(items)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)


def replicas_curve(settings: Settings, url: str, seconds: int) -> dict[str, Any]:
    """Requests per second, uncached, at 32 and 128 connections. The deployed configuration is restored."""
    body = user_body(', "filters": {"exclude_items": [\' .. n .. \']}')
    rates: dict[str, list[float]] = {"32 connections": [], "128 connections": []}
    deployed = settings.state_dir / "serve_config.yaml"
    config = yaml.safe_load(deployed.read_text())
    try:
        for replicas in (1, 2):
            _deploy(settings, url, _with_replicas(config, replicas), replicas)
            for name in rates:
                load = run_load(f"{url}/api/v1/recommend", body, int(name.split()[0]), seconds)
                rates[name].append(load.requests_per_s)
                print(f"{replicas} replicas, {name}: {load.requests_per_s:,.0f}/s, {load.errors} errors")
    finally:
        _deploy(settings, url, config, None)
    return {"title": "replicas", "of": "replicas of Ranking and of Retrieval", "x": [1, 2], "lines": rates}


def _with_replicas(config: dict[str, Any], replicas: int) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(config))
    for application in changed["applications"]:
        for deployment in application["deployments"]:
            if deployment["name"] in ("RankingDeployment", "Retrieval-champion"):
                deployment["autoscaling_config"] |= {"min_replicas": replicas, "max_replicas": replicas}
    return changed


def _deploy(settings: Settings, url: str, config: dict[str, Any], replicas: int | None) -> None:
    """Deploy and wait for so many replicas of each; None for as many as autoscaling keeps for now."""
    file = settings.state_dir / "growth_config.yaml"
    file.write_text(yaml.safe_dump(config))
    environment = client_environment(settings)
    subprocess.run(["serve", "deploy", str(file)], env=environment, check=True, capture_output=True, timeout=READY_S)
    deadline = time.monotonic() + READY_S
    while True:
        status = subprocess.run(["serve", "status"], env=environment, check=True, capture_output=True, text=True)
        deployments = yaml.safe_load(status.stdout)["applications"]["recommend"]["deployments"]
        running = [deployments[name]["replica_states"] for name in ("RankingDeployment", "Retrieval-champion")]
        if all(list(states) == ["RUNNING"] and replicas in (None, states["RUNNING"]) for states in running):
            break
        if time.monotonic() > deadline:
            sys.exit(f"the replicas did not come up: {running}")
        time.sleep(1)
    httpx.get(f"{url}/health/ready", timeout=10).raise_for_status()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--items", type=int, nargs="+", default=[1_682, 100_000, 1_000_000])
    parser.add_argument("--seconds", type=int, default=5, help="length of one run against the replicas")
    parser.add_argument("--port", type=int, default=6398, help="for Valkeys of its own: it and the next")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/growth.json"))
    args = parser.parse_args()
    settings = load_settings()
    url = f"http://127.0.0.1:{settings.ports.http}"
    expect_running(url)
    print(machine())
    curves = [
        replicas_curve(settings, url, args.seconds),
        items_curve(args.items),
        users_curve(args.users, args.port),
    ]
    report = {"machine": machine(), "command": " ".join(sys.argv), "curves": curves}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")
    plot_growth(report, args.out.with_suffix(".html"))


if __name__ == "__main__":
    main()
