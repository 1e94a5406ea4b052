"""`python -m benchmarks.experiment_cost`: what an experiment costs the store, its results and a request.

Store and results are measured on a Valkey of this benchmark's own, after 1,000 events and after a million. The cost of
a request needs the running stack: an A/A experiment on half of the users runs for as long as the measurement takes, and
users in it are asked for in turn with users outside it, in the same seconds on the same machine.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx

from benchmarks.serving import machine
from benchmarks.store import own_server, wait_for_store
from configs import clock
from configs.event_types import load_event_types
from configs.settings import Store, load_settings
from experiments.assignment import TrafficSplit, assign
from experiments.attribution import CLICK, UserReplay
from experiments.design import Design
from experiments.report import report
from experiments.user_metrics import METRICS
from experiments.user_totals import STATISTICS
from features.experiments.counts import read_sums, rule_of, sums_command, user_commands
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.layout import keys_of

VARIANTS = ("control", "new")
BATCH = 500
DESIGN = Design(VARIANTS, ((0, (0.5, 0.5)),), "click_through", tuple(METRICS))


async def fill(store: OnlineStore, events: int, experiment: str | None) -> float:
    """Record lists and events, two events to each list. Returns the server's CPU time in us for each of them."""
    now_ms = clock.now_ms()
    begun = await server_cpu_s(store)
    for start in range(0, events, BATCH):
        numbers = range(start, min(events, start + BATCH))
        lists = [
            Exposure(
                f"r{n}", f"u{n // 20}", now_ms, "v", VARIANTS[n // 20 % 2], experiment,
                tuple(f"i{(n + place) % 1000}" for place in range(10)), before=5,
            )
            for n in numbers[::2]
        ]  # fmt: skip
        await store.log_exposures(lists)
        await store.record_events(
            [Event(f"e{n}", f"u{n // 20}", f"i{n % 1000}", "click", now_ms, recommendation_id=f"r{n}") for n in numbers]
        )
    return (await server_cpu_s(store) - begun) / (1.5 * events) * 1e6


async def server_cpu_s(store: OnlineStore) -> float:
    """CPU time that the server has used."""
    info = await store.client.run("INFO", "cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def time_results(store: OnlineStore, tries: int = 200) -> tuple[float, float, int]:
    """CPU ms of this process and of the store to read the sums and make all results, and the users behind them."""
    taken, users = [], 0
    begun_s = await server_cpu_s(store)
    for _ in range(tries):
        begun = time.process_time()
        sums = await read_sums(store.client, store.keys, "e", VARIANTS)
        report(DESIGN, sums, 1.0)
        taken.append(time.process_time() - begun)
        users = sum(found["n"] for found in sums.values())
    server_s = await server_cpu_s(store) - begun_s
    return statistics.median(taken) * 1000, server_s / tries * 1000, users


async def fill_at_once(store: OnlineStore, events: int) -> None:
    """Write what the scripts would have left of so many events, in the way of a rebuild."""
    keys, rule = store.keys, rule_of(store.limits)
    partitions: dict[int, list[UserReplay]] = {}
    commands: list[tuple[Any, ...]] = []
    for number in range(events // 20):
        user, replay = f"u{number}", UserReplay(rule)
        for turn in range(10):
            items = [f"i{(number + turn + place) % 1000}" for place in range(10)]
            replay.expose("e", VARIANTS[number % 2], f"r{number}-{turn}", 2 * turn, items, 5, simulated=False)
            for one in range(2):
                replay.event(2 * turn + 1, items[number % 7 + one], 2 * turn + 1, None, CLICK * (number % 3 > 0), None)
        partitions.setdefault(keys.partition_of(user), []).append(replay)
        commands += user_commands(keys, user, replay, 0)
    for partition, replays in partitions.items():
        commands += sums_command(keys.experiment_sums(partition), replays, {})
    for start in range(0, len(commands), BATCH):
        await store.client.read(commands[start : start + BATCH])


async def on_own_store(port: int, events: int) -> None:
    """Print what results cost after 1,000 and after `events` events, and what one event costs the store."""
    with own_server(port) as url:
        store = OnlineStore(connect(Store(timeout_s=30.0), url), keys_of(Store()), Store(), load_event_types())
        try:
            for count in (1_000, events):
                await wait_for_store(store)
                await fill_at_once(store, count)
                own_ms, server_ms, users = await time_results(store)
                sums = len(STATISTICS) * len(VARIANTS)
                print(
                    f"{count:>9,} events of {users:,} users: results take {own_ms:.2f} ms of CPU, "
                    f"and {server_ms:.2f} ms of the store, from {sums} sums a partition"
                )
                await store.client.raw.flushall()
            inside = await fill(store, 10_000, "e")
            await store.client.raw.flushall()
            outside = await fill(store, 10_000, None)
        finally:
            await store.client.aclose()
    print(f"CPU of the store for a list or an event: {inside:.0f} us in an experiment, {outside:.0f} us outside")


def request_cost(api: httpx.Client, rounds: int) -> None:
    """Print the added time of a request whose user is in an experiment."""
    name = f"bench-{int(time.time())}"
    variants = [{"name": one, "weight": 0.5, "slot": "champion"} for one in VARIANTS]
    body = {"id": name, "hypothesis": "what it costs", "variants": variants, "coverage": 0.5, "minimum_days": 0}
    api.post("/api/v1/experiments", json=body).raise_for_status()
    api.post(f"/api/v1/experiments/{name}/start").raise_for_status()
    try:
        traffic = TrafficSplit(name, VARIANTS, (0.5, 0.5), 0.5)
        users = [str(number) for number in range(1, 944)]
        groups: dict[bool, list[str]] = {True: [], False: []}
        for user in users:
            groups[assign(traffic, user).variant is not None].append(user)
        wait_for(lambda: _ask(api, groups[True][0])[1] == name)
        taken: dict[bool, list[float]] = {True: [], False: []}
        for number in range(rounds):
            for inside in (True, False) if number % 2 else (False, True):
                took_ms, experiment = _ask(api, groups[inside][number % len(groups[inside])], number)
                assert (experiment == name) == inside
                taken[inside].append(took_ms)
        plain, counted = (statistics.median(taken[inside]) for inside in (False, True))
        share = (counted - plain) / plain
        print(f"a request, p50 of {rounds:,}: {plain:.3f} ms outside, {counted:.3f} ms in an experiment: {share:+.1%}")
    finally:
        api.post(f"/api/v1/experiments/{name}/stop").raise_for_status()
        api.post(f"/api/v1/experiments/{name}/archive").raise_for_status()


def _ask(api: httpx.Client, user: str, number: int = 0) -> tuple[float, str | None]:
    """Time in ms of an uncached request, and the experiment that it counts for."""
    body: dict[str, Any] = {"user_id": user, "context": {"simulated": True, "try": number}}
    begun = time.perf_counter()
    answer = api.post("/api/v1/recommend", json=body)
    took_ms = (time.perf_counter() - begun) * 1000
    answer.raise_for_status()
    return took_ms, answer.json()["experiment"]


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until it is true. Raises RuntimeError when that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("no request was assigned to the experiment")
        time.sleep(0.05)


def main() -> int:
    """Print every cost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiment_cost", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="of the larger experiment")
    parser.add_argument("--rounds", type=int, default=2_000, help="requests of each kind")
    parser.add_argument("--port", type=int, default=16_900, help="of the benchmark's own stores")
    parser.add_argument("--no-stack", action="store_true", help="leave out what needs the running stack")
    given = parser.parse_args()
    print(machine())
    asyncio.run(on_own_store(given.port, given.events))
    if not given.no_stack:
        with httpx.Client(base_url=f"http://127.0.0.1:{load_settings().ports.http}", timeout=30.0) as api:
            request_cost(api, given.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
