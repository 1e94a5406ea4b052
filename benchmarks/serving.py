"""Requests per second against a bare web server, and against Ray Serve the ordinary way, in one run.

Start the stack (`make up`), then `make bench`. Floor and lists take turns, and each figure is the median of its rounds:
the ratio is what counts, since machines differ and are noisy.

    floor      a bare uvicorn endpoint (`benchmarks.peers.floor`): no framework, orjson
    fastapi    the same endpoint in FastAPI (`benchmarks.peers.fastapi_floor`)
    same       one FastAPI process that does the work of a list and of an event (`benchmarks.peers.same_work`), by kind
    naive      three deployments behind Ray's own proxy, default flags (`benchmarks.peers.naive`)
    uncached   recommend: features, fold-in, candidates, learned ranker, exposure fsynced; no request like another
    cached     the same, every user asked again and unchanged
    events     single events, fsynced
    batches    events by 200 in one request, fsynced; counted are events
    raw        the store's script alone, pipelines of 200 on one connection to the same store; counted are events
"""

import argparse
import asyncio
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

from benchmarks.measuring.load import Load, run_load
from benchmarks.measuring.plots import plot_serving
from benchmarks.measuring.usage import spent, usage
from configs import clock
from configs.event_types import load_event_types
from configs.settings import Settings, load_settings
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.layout import keys_of
from features.redis.scripts import run_calls

USERS = 943
EVENT = '"event_type": "view"'
BATCH = 200
BATCH_CONNECTIONS = 4
WARM_S = 3
NAIVE_S = 20
"""Its answers take seconds under load: in a shorter run wrk would count only the quick ones."""
USAGE_AT = 32
"""Connections at which processor time is told by process."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="of the running stack; from the settings when absent")
    parser.add_argument("--seconds", type=int, default=5, help="length of one run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind, of which the median is shown")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/serving.json"))
    args = parser.parse_args()
    url = args.url or f"http://127.0.0.1:{load_settings().ports.http}"
    expect_running(url)
    settings = load_settings()
    measured: dict[tuple[str, int], list[Load]] = {}
    cores: dict[str, dict[str, float]] = {}
    batch_rates: dict[str, list[float]] = {"batches": [], "raw": []}
    # `exclude_items` differs in every uncached request, so that no list can come from the cache.
    lists = {
        "uncached": (f"{url}/api/v1/recommend", user_body(', "filters": {"exclude_items": [\' .. n .. \']}')),
        "cached": (f"{url}/api/v1/recommend", user_body("")),
    }
    events = {"events": (f"{url}/api/v1/events", user_body(", \"item_id\": ' .. (n % 1682 + 1) .. ', " + EVENT))}

    def of_peer(kinds: dict[str, tuple[str, str]], peer: str) -> dict[str, tuple[str, str]]:
        return {f"same {kind}": (address.replace(url, peer), body) for kind, (address, body) in kinds.items()}

    def measure(kinds: dict[str, tuple[str, str]], seconds: int) -> None:
        for _ in range(args.rounds):
            for connections in args.connections:
                for kind, (address, body) in kinds.items():
                    if kind.endswith("cached") and not kind.endswith("uncached"):
                        run_load(address, body, 32, WARM_S)  # so that the lists of all users are remembered
                    before = usage(settings)
                    load = run_load(address, body, connections, seconds)
                    measured.setdefault((kind, connections), []).append(load)
                    if connections == USAGE_AT and kind in ("uncached", "cached", "events"):
                        cores[kind] = spent(before, usage(settings), seconds)

    # Another Ray beside this one costs even while it is idle, so the naive composition has a turn of its own.
    with Server("benchmarks.peers.naive") as naive_url:
        measure({"naive": (f"{naive_url}/", user_body(""))}, max(args.seconds, NAIVE_S))
    with Server("benchmarks.peers.floor") as floor_url, Server("benchmarks.peers.fastapi_floor") as fastapi_url:
        floors = {"floor": floor_url, "fastapi": fastapi_url}
        measure({kind: (f"{at}/api/v1/recommend", user_body("")) for kind, at in floors.items()} | lists, args.seconds)
    with Server("benchmarks.peers.same_work") as peer:
        for kind, ours in lists.items():
            measure(of_peer({kind: ours}, peer) | {kind: ours}, args.seconds)
        measure(of_peer(events, peer) | events, args.seconds)  # last: they make the histories longer
        for _ in range(args.rounds):
            batches = run_load(f"{url}/api/v1/events/batch", batch_body(), BATCH_CONNECTIONS, args.seconds)
            batch_rates["batches"].append(batches.requests_per_s * BATCH)
            batch_rates["raw"].append(asyncio.run(raw_rate(settings, args.seconds)))
    rows = [summary(kind, loads) for (kind, _), loads in measured.items()]
    for base in ("floor", "fastapi"):
        rates_of = {row["connections"]: row["requests_per_s"] for row in rows if row["kind"] == base}
        for row in rows:
            row[f"of_{base}"] = row["requests_per_s"] / rates_of[row["connections"]]
    at = {(row["kind"], row["connections"]): row["requests_per_s"] for row in rows}
    for row in rows:
        same = at.get((f"same {row['kind']}", row["connections"]))
        row["of_same_work"] = row["requests_per_s"] / same if same else None
    rates = {name: statistics.median(found) for name, found in batch_rates.items()}
    report = {
        "machine": machine(),
        "command": " ".join(sys.argv),
        "rows": rows,
        "events_per_s": rates,
        "batches_of_raw": rates["batches"] / rates["raw"],
        "cores_at_32_connections": cores,
        "memory_mb": {role: round(used.memory_mb) for role, used in usage(settings).items()},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")
    plot_serving(report, args.out.with_suffix(".html"))
    print(table(report))


def batch_body() -> str:
    """A Lua expression: a batch of events that differ from request to request."""
    event = '\'{"user_id": \' .. (k % 943 + 1) .. \', "item_id": \' .. (k % 1682 + 1) .. \', "event_type": "view"}\''
    loop = f"for i = 1, {BATCH} do local k = n * {BATCH} + i; t[i] = {event} end"
    return f"(function() local t = {{}}; {loop}; return '{{\"events\": [' .. table.concat(t, ',') .. ']}}' end)()"


async def raw_rate(settings: Settings, seconds: float) -> float:
    """Events per second of the script alone, in the running stack's store under a prefix of its own, which is emptied
    afterwards."""
    # Within the stack's own prefix: its users reach no other keys.
    prefix = f"{settings.store.prefix}:bench"
    limits = settings.patient_store.model_copy(update={"prefix": prefix})
    client = connect(limits, settings.store_url_of("jobs"))
    store = OnlineStore(client, keys_of(limits), limits, load_event_types(settings.data.events))
    await store.prepare()
    now_ms = clock.now_ms()
    calls = [
        store.event_call(Event(f"{n}", f"{n % USERS + 1}", f"{n % 1682 + 1}", "view", now_ms + n, received_ms=now_ms))
        for n in range(40 * BATCH)
    ]
    done, place, started = 0, 0, time.perf_counter()
    try:
        while time.perf_counter() - started < seconds:
            await run_calls(client, calls[place : place + BATCH])
            done, place = done + BATCH, place + BATCH
            if place == len(calls):
                break  # the same events again would be duplicates, which cost less
        return done / (time.perf_counter() - started)
    finally:
        mine = [key async for key in client.scan(f"{prefix}:*")]
        for start in range(0, len(mine), 1000):
            await client.run("UNLINK", *mine[start : start + 1000])
        await client.aclose()


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
    head = f"{'':<14} {'conn':>5} {'req/s':>8} {'of floor':>9} {'of FastAPI':>11} {'of same work':>13} "
    head += f"{'p50':>8} {'p95':>8} {'p99':>8} {'errors':>7}"
    lines = [
        f"{row['kind']:<14} {row['connections']:>5} {row['requests_per_s']:>8.0f} {row['of_floor']:>9.2f} "
        f"{row['of_fastapi']:>11.2f} {'' if row['of_same_work'] is None else format(row['of_same_work'], '.2f'):>13} "
        f"{row['p50_ms']:>6.2f}ms {row['p95_ms']:>6.2f}ms {row['p99_ms']:>6.2f}ms {row['errors']:>7}"
        for row in sorted(rows, key=lambda row: row["connections"])
    ]
    rates = report["events_per_s"]
    lines.append(
        f"events in batches of {BATCH}: {rates['batches']:.0f}/s, the script alone {rates['raw']:.0f}/s, "
        f"ratio {report['batches_of_raw']:.2f}"
    )
    for kind, cores in report["cores_at_32_connections"].items():
        used = ", ".join(f"{role} {share:.2f}" for role, share in cores.items())
        lines.append(f"cores, {kind} at {USAGE_AT} connections: {used}")
    memory = ", ".join(
        f"{role} {used:,}" for role, used in sorted(report["memory_mb"].items(), key=lambda one: -one[1])
    )
    lines.append(f"resident MB: {memory}")
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
