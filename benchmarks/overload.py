"""`python -m benchmarks.overload`: what many clients that retry at once, or thousands of slow ones, cost the others.

Start the stack first. Kinds of load take turns, since the machine may be busy with other things, and each figure is the
median of its rounds:

    best       as many connections as the applications like (`--best`)
    crowd      `--clients` connections, each of which asks again as soon as it has any answer
    slow       as `best`, while `--slow` connections hold half a request each

A few connections of this process ask along in every kind, and only their answers of 200 are timed: what a client that
is served has to wait. Accepted lists are counted over all. No list comes from the cache.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from benchmarks.measuring.load import run_load
from benchmarks.serving import expect_running, machine, user_body
from configs.settings import load_settings

PROBES = 8
PATH = "/api/v1/recommend"
UNCACHED = user_body(', "filters": {"exclude_items": [\' .. n .. \']}')
HALVES = (
    b"POST /api/v1/recommend HTTP/1.1\r\nhost: localhost\r\nx-half: ",
    b"POST /api/v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{",
)
_numbers = itertools.count(time.time_ns() // 1000 % 2**30)


@dataclass(frozen=True)
class Round:
    """What one round measured; `accepted` and `refused` in answers a second."""

    accepted: float
    refused: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="length of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--best", type=int, default=64, help="connections at which the applications answer most")
    parser.add_argument("--clients", type=int, default=600)
    parser.add_argument("--slow", type=int, default=4200)
    args = parser.parse_args()
    port = load_settings().ports.http
    expect_running(f"http://127.0.0.1:{port}")
    kinds = {"best": (args.best, 0), "crowd": (args.clients, 0), "slow": (args.best, args.slow)}
    rounds: dict[str, list[Round]] = {kind: [] for kind in kinds}
    print(machine())
    for _ in range(args.rounds):
        for kind, (connections, slow) in kinds.items():
            rounds[kind].append(asyncio.run(_round(port, connections, slow, args.seconds)))
            print(f"{kind:6} {rounds[kind][-1]}", flush=True)
    shown = {kind: _median(measured) for kind, measured in rounds.items()}
    for kind, median in shown.items():
        print(f"{kind:6} {json.dumps(median.__dict__)}")
    best = shown["best"]
    print(
        f"crowd: {shown['crowd'].accepted / best.accepted:.2f} of the best accepted rate, "
        f"{shown['crowd'].p99_ms / best.p99_ms:.1f} times its p99\n"
        f"slow: {shown['slow'].p99_ms / best.p99_ms:.2f} times the p99 without them"
    )


def _median(rounds: list[Round]) -> Round:
    return Round(
        *(round(statistics.median(getattr(one, name) for one in rounds), 1) for name in Round.__dataclass_fields__)
    )


async def _round(port: int, connections: int, slow: int, seconds: int) -> Round:
    """One kind of load for `seconds`."""
    async with _held(port, slow):
        ends = time.monotonic() + seconds
        probes = [asyncio.create_task(_ask_along(port, ends)) for _ in range(PROBES)]
        url = f"http://127.0.0.1:{port}{PATH}"
        load = await asyncio.to_thread(run_load, url, UNCACHED, connections - PROBES, seconds)
        timed = sorted(itertools.chain.from_iterable(await asyncio.gather(*probes)))
    refused = load.errors / load.requests * load.requests_per_s
    return Round(
        load.requests_per_s - refused + len(timed) / seconds,
        refused,
        1000 * timed[len(timed) // 2],
        1000 * timed[int(len(timed) * 0.99)],
    )


async def _ask_along(port: int, ends: float) -> list[float]:
    """Seconds of each answer of 200 on one connection, on which is asked again at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken = []
    while time.monotonic() < ends:
        number = next(_numbers)
        body = json.dumps({"user_id": number % 943 + 1, "filters": {"exclude_items": [number]}}).encode()
        head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        started = time.monotonic()
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = answer.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        if answer.startswith(b"http/1.1 200 "):
            taken.append(time.monotonic() - started)
        if b"connection: close" in answer:
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return taken


@contextlib.asynccontextmanager
async def _held(port: int, connections: int) -> AsyncIterator[None]:
    """Hold connections with half a request each, and open another for each that the other side closes."""

    async def hold(half: bytes) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(half)
                await reader.read()
                writer.close()

    tasks = [asyncio.create_task(hold(HALVES[number % 2])) for number in range(connections)]
    await asyncio.sleep(2 if connections else 0)  # until they are open
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    main()
