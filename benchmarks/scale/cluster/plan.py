"""What a load beyond one machine needs: `python -m benchmarks.scale.cluster.plan`. Needs no stack; takes a minute.

It first plays the closed loops of the real stack's benchmark on one machine of two cores and prints what the real stack
did beside what the simulation says: these figures were not used to make it, only processor times were. Then it looks
for the smallest cluster in which no role works for more than a share of the time, plays the load through it, and prints
the waiting times. Memory is calculated from what `measure`, `costs` and `benchmarks.store` found.

Assumed and not measured: the network between nodes, how much single jobs differ (`--spread`), how active users are.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.scale.cluster.costs import KEPT as COSTS
from benchmarks.scale.cluster.measure import KEPT as SERVICE_TIMES
from benchmarks.scale.cluster.queues import CALLS
from benchmarks.scale.cluster.simulation import CACHED, EVENT, UNCACHED, Cluster, Outcome, Times, simulate

KINDS = {"uncached": UNCACHED, "cached": CACHED, "events": EVENT}
# How a list's own time in Ranking divides over its three turns there, by `benchmarks.stages` (docs/benchmarks.md): the
# half of handling and reading, scoring and ordering, the other half.
FIRST, REPLY, LAST = 0.40, 0.34, 0.26
# Two cores with nothing else on them, docs/benchmarks.md: kind, connections, requests a second, p50 and p99 in ms.
QUIET = (
    *(("uncached", 1, 285, 3.3, 7.6), ("uncached", 8, 861, 8.9, 17.4)),
    *(("uncached", 32, 1388, 21.6, 43.0), ("uncached", 128, 1729, 71.0, 122.0)),
    *(("cached", 1, 1220, 0.8, 3.3), ("cached", 8, 2949, 2.5, 7.4)),
    *(("cached", 32, 4461, 6.6, 15.5), ("cached", 128, 5572, 21.9, 46.8)),
    *(("events", 1, 1072, 0.8, 5.7), ("events", 8, 2888, 2.5, 9.9)),
    *(("events", 32, 4400, 6.8, 16.0), ("events", 128, 4902, 22.5, 69.7)),
)
PARTITIONS = 256
USER_BYTES, ITEM_BYTES, CATALOGUE_BYTES = 2_918, 254, 530
"""`benchmarks.store`: a user with 100 events; an item in one partition. `benchmarks.scale.catalogue`: an item with ten
attributes."""
RETRIEVAL_BYTES = 709 + 4 * 64
"""Of an item in a retrieval replica: the same with attributes, and its factors; the index comes on top."""


def times_of(report: dict[str, Any]) -> Times:
    """The simulation's times from what was measured."""
    us = report["times_us"]
    own = us["Ranking own"]
    return Times(
        client=us["client"],
        proxy=us["HAProxy"],
        first=FIRST * own,
        call=us["Ranking call"],
        retrieve_call=us["Retrieval call"],
        retrieve=us["Retrieval own"],
        reply=REPLY * own,
        last=LAST * own,
        read=us["Valkey uncached"] / 2,
        write=us["Valkey uncached"] / 2,
        sync=report["sync_us"],
        cached=us["Ranking cached"],
        ingest=us["Ingestion"],
        event_write=us["Valkey events"],
    )


def search_us(measured: list[dict[str, Any]], items: int) -> float:
    """Processor time of a search among so many items: on the line through the two largest catalogues that were
    measured, in logarithms; beyond the largest it is extrapolated."""
    (small, low), (large, high) = [(one["items"], one["search ms"] * 1e3) for one in measured[-2:]]
    slope = math.log(high / low) / math.log(large / small)
    return float(low * (items / small) ** slope)


def validate(times: Times, observed: Sequence[tuple[str, int, float, float, float]], spread: float, seed: int) -> None:
    """Print the real closed loops beside the simulated ones."""
    print("two cores for everything | real req/s | simulated | real p50 | simulated | real p99 | simulated | batch")
    ratios = []
    for kind, connections, rate, p50, p99 in observed:
        n = 20_000
        found = simulate(
            times, Cluster(cores=2, spread=spread), np.full(n, KINDS[kind]), np.zeros(n, np.int64), seed,
            connections=connections,
        )  # fmt: skip
        ratios.append(found.requests_per_s / rate)
        mine = np.percentile(found.latency_ms[KINDS[kind]], [50, 99])
        print(
            f"{kind:>9}, {connections:>3} connections | {rate:>10,.0f} | {found.requests_per_s:>9,.0f} | {p50:>8.1f} | "
            f"{mine[0]:>9.1f} | {p99:>8.1f} | {mine[1]:>9.1f} | {found.batch:.1f}"
        )
    print(f"simulated / real requests a second: {min(ratios):.2f} to {max(ratios):.2f}\n")


def store_of_users(n: int, servers: int, seed: int, users: int = 1_000_000, sigma: float = 1.5) -> np.ndarray:
    """(n,) which server holds the user of each request: activity is lognormal, partitions go round the servers."""
    generator = np.random.default_rng(seed)
    activity = generator.lognormal(0.0, sigma, users)
    shares = np.bincount(generator.integers(0, PARTITIONS, users), activity, PARTITIONS)
    return generator.choice(PARTITIONS, n, p=shares / shares.sum()) % servers


def sized(times: Times, rate: float, shares: dict[int, float], busy: float, batch: float) -> dict[str, int]:
    """How many processes of each role work for a share `busy` of the time at most, on average."""
    lists, events = shares[UNCACHED] + shares[CACHED], shares[EVENT]
    own = times.first + times.reply + times.last
    needed = {
        "proxies": times.proxy,
        "ranking": shares[UNCACHED] * (own + times.call / batch) + shares[CACHED] * times.cached,
        "ingestion": events * times.ingest,
        "retrieval": shares[UNCACHED] * (times.retrieve + times.retrieve_call / batch),
        "stores": lists * (times.read + times.write) + events * times.event_write,
    }
    counts = {role: max(1, math.ceil(rate * us / 1e6 / busy)) for role, us in needed.items()}
    # A ranking replica has a bounded number of calls under way: too few of them leave retrieval replicas without work.
    counts["ranking"] = max(counts["ranking"], math.ceil(rate * needed["retrieval"] / 1e6 / CALLS / busy))
    return counts


def plan(times: Times, args: argparse.Namespace) -> tuple[dict[str, int], Outcome]:
    """The smallest cluster for the load, and what it does under it."""
    shares = {CACHED: args.cached, EVENT: args.events, UNCACHED: 1 - args.cached - args.events}
    generator = np.random.default_rng(args.seed)
    n = int(args.rate * args.seconds)
    kinds = generator.choice([*shares], n, p=[*shares.values()])
    batch = 2.0
    for _ in range(3):  # the size of micro-batches follows from the number of replicas, and they from it
        counts = sized(times, args.rate, shares, args.busy, batch)
        counts["stores"] = max(counts["stores"], 2)
        cluster = Cluster(**counts, network_us=args.network_us, spread=args.spread)
        stores = store_of_users(n, counts["stores"], args.seed)
        found = simulate(times, cluster, kinds, stores, args.seed, rate=args.rate)
        batch = max(found.batch, 1.0)
    return counts, found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.cluster.plan", description=__doc__)
    parser.add_argument("--users", type=int, default=100_000_000)
    parser.add_argument("--items", type=int, default=10_000_000)
    parser.add_argument("--rate", type=float, default=100_000.0, help="requests a second")
    parser.add_argument("--cached", type=float, default=0.0, help="share of them that the list cache answers")
    parser.add_argument("--events", type=float, default=0.0, help="share of them that are single events")
    parser.add_argument("--busy", type=float, default=0.6, help="share of the time that a process may work")
    parser.add_argument("--network-us", type=float, default=100.0, help="one way between two processes; assumed")
    parser.add_argument("--spread", type=float, default=0.5, help="coefficient of variation of a job; assumed")
    parser.add_argument("--seconds", type=float, default=3.0, help="simulated time")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    report, costs = json.loads(SERVICE_TIMES.read_text()), json.loads(COSTS.read_text())
    times = times_of(report)
    print(f"processor times: {report['machine']}, {report['date']}, load average {report['load_average']}")
    observed = [(run["kind"], run["connections"], run["requests_per_s"], run["p50_ms"], run["p99_ms"])
                for run in report["runs"]] if report["idle"] else QUIET  # fmt: skip
    validate(times, observed, args.spread, args.seed)
    search = search_us(costs["index"], args.items)
    counts, found = plan(replace(times, retrieve=times.retrieve + search), args)
    print(
        f"{args.rate:,.0f} requests a second for {args.seconds:g} s, seed {args.seed}, {search / 1e3:.2f} ms a search:"
    )
    for kind, latency in found.latency_ms.items():
        if len(latency):
            name = next(name for name, number in KINDS.items() if number == kind)
            p50, p99, p999 = np.percentile(latency, [50, 99, 99.9])
            print(f"  {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, p99.9 {p999:.1f} ms")
    for (role, busy), count in zip(found.busy.items(), counts.values(), strict=True):
        print(f"  {role}: {count} processes, busy {busy.mean():.2f} on average, {busy.max():.2f} the busiest")
    print(f"  in a micro-batch: {found.batch:.1f}; a store syncs its disk {found.syncs_per_s:,.0f} times a second")
    print_memory(args, counts["stores"], counts["retrieval"], costs)


def print_memory(args: argparse.Namespace, servers: int, replicas: int, costs: dict[str, Any]) -> None:
    """What the store and the models hold; calculated."""
    users, streams = args.users * USER_BYTES, costs["streams"]
    items = args.items * (ITEM_BYTES * PARTITIONS + CATALOGUE_BYTES)
    lists = args.rate * (1 - args.events) * 3600 * streams["bytes of a list"]
    largest = costs["index"][-1]
    pairs, rows = 100 * args.users, args.users + args.items
    iteration = (pairs * costs["fit"]["a pair us"] + rows * costs["fit"]["a user or item us"]) / 1e6
    compaction = args.rate * streams["compaction us"] / 1e6
    print(f"  users: {users / 1e9:,.0f} GB in all, {users / servers / 1e9:,.1f} GB on each of {servers} primaries")
    print(f"  items: {items / 1e9:,.0f} GB at most, where every item has events in each of {PARTITIONS} partitions")
    print(
        f"  lists of an hour: {lists / 1e9:,.0f} GB until a compaction, which takes {compaction:.1f} cores all the time"
    )
    held = (largest["bytes an item"] + RETRIEVAL_BYTES) * args.items
    print(f"  each retrieval replica: {held / 1e9:,.1f} GB, in all {held * replicas / 1e12:,.1f} TB")
    print(f"  a fit on 100 events a user: {iteration / 3600:,.1f} core hours an iteration")


if __name__ == "__main__":
    main()
