"""Requests per second against a bare web server, and against Ray Serve the ordinary way, in one run.

Start the stack (`make up`), then `make bench`. The kinds take turns, and each figure is the median of its rounds: the
ratio is what counts, since machines differ and are noisy.

    floor      a bare uvicorn endpoint (`benchmarks.floor`)
    naive      three deployments behind Ray's own proxy, default flags (`benchmarks.naive`)
    uncached   recommend: features, fold-in, 100 candidates, exposure fsynced; no request like another
    cached     the same, every user asked again and unchanged
    events     single events, fsynced
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.load import Load, run_load
from configs.settings import load_settings

USERS = 943
EVENT = '"event_type": "view"'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="of the running stack; from the settings when absent")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind, of which the median is shown")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/serving.json"))
    args = parser.parse_args()
    url = args.url or f"http://127.0.0.1:{load_settings().ports.http}"
    expect_running(url)
    measured: dict[tuple[str, int], list[Load]] = {}
    with Server("benchmarks.floor") as floor_url, Server("benchmarks.naive") as naive_url:
        # `exclude_items` differs in every uncached request, so that no list can come from the cache.
        kinds = {
            "floor": (f"{floor_url}/api/v1/recommend", user_body("")),
            "naive": (f"{naive_url}/", user_body("")),
            "uncached": (f"{url}/api/v1/recommend", user_body(', "filters": {"exclude_items": [\' .. n .. \']}')),
            "cached": (f"{url}/api/v1/recommend", user_body("")),
            "events": (f"{url}/api/v1/events", user_body(", \"item_id\": ' .. (n % 1682 + 1) .. ', " + EVENT)),
        }
        for _ in range(args.rounds):
            for connections in args.connections:
                for kind, (address, body) in kinds.items():
                    load = run_load(address, body, connections, args.seconds)
                    measured.setdefault((kind, connections), []).append(load)
    rows = [summary(kind, loads) for (kind, _), loads in measured.items()]
    floors = {row["connections"]: row for row in rows if row["kind"] == "floor"}
    for row in rows:
        row["of_floor"] = row["requests_per_s"] / floors[row["connections"]]["requests_per_s"]
    report = {"machine": machine(), "command": " ".join(sys.argv), "rows": rows}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")
    print(table(report))


def user_body(rest: str) -> str:
    """A Lua expression: the body of request `n`, over all users in turn."""
    return f"'{{\"user_id\": ' .. (n * 7919 % {USERS} + 1) .. '{rest}}}'"


def summary(kind: str, loads: list[Load]) -> dict[str, Any]:
    fields = ("requests_per_s", "p50_ms", "p95_ms", "p99_ms")
    medians = {field: statistics.median(getattr(load, field) for load in loads) for field in fields}
    return {
        "kind": kind,
        "connections": loads[0].connections,
        **medians,
        "errors": sum(load.errors for load in loads),
        "requests": sum(load.requests for load in loads),
    }


def table(report: dict[str, Any]) -> str:
    rows = report["rows"]
    head = f"{'':<10} {'conn':>5} {'req/s':>8} {'of floor':>9} {'p50':>8} {'p95':>8} {'p99':>8} {'errors':>7}"
    lines = [
        f"{row['kind']:<10} {row['connections']:>5} {row['requests_per_s']:>8.0f} {row['of_floor']:>9.2f} "
        f"{row['p50_ms']:>6.2f}ms {row['p95_ms']:>6.2f}ms {row['p99_ms']:>6.2f}ms {row['errors']:>7}"
        for row in sorted(rows, key=lambda row: row["connections"])
    ]
    return "\n".join([str(report["machine"]), head, *lines])


def machine() -> str:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def expect_running(url: str) -> None:
    try:
        httpx.get(f"{url}/health/ready", timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        sys.exit(f"{url} is not ready ({error}): start the stack with `make up`")


class Server:
    """Another server to measure against, while the benchmark runs."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __enter__(self) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        # Without this stack's variables: what it compares with shall not share its flags or its Ray.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY")}
        command = [sys.executable, "-m", self._module, "--port", str(port)]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.post(f"{url}/", json={"user_id": 1}).raise_for_status()
            except httpx.HTTPError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.1)
            else:
                return url

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait(20)


if __name__ == "__main__":
    main()
