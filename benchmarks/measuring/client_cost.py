"""`PYTHONPATH=clients/python/src python -m benchmarks.measuring.client_cost`: what a client adds to a raw request.

It asks the running stack (`make up` first) for lists and sends it events: by a client, and by the HTTP library under
it, with the answer read as JSON. The two of a pair go one after the other, in an order drawn by chance, for two users,
since the second list of one would be a remembered one. Printed are the ratios of the medians: of the time to the
answer, and of the processor time of the process that asks. Python's client stands on httpx, that in Node on fetch
(where there is a Node).
"""

import argparse
import json
import random
import shutil
import statistics
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from raycommend_client import Client

from benchmarks.serving import USERS, expect_running, machine
from configs.settings import load_settings

SCRIPT = Path(__file__).with_suffix(".mjs")
WARM = 20
Times = dict[str, dict[str, list[float]]]
"""Seconds by kind of request and way, two lists: "time to the answer" and "processor time"."""


def in_python(url: str, pairs: int) -> dict[str, Times]:
    """Lists and events of the client and of httpx."""
    with Client(url) as client, httpx.Client(base_url=url) as raw:

        def post(path: str, body: dict[str, Any]) -> Any:
            return raw.post(path, json=body).raise_for_status().json()

        def event(number: int) -> dict[str, Any]:
            return {"user_id": number % USERS + 1, "item_id": number % 100 + 1, "event_type": "view"}

        asked: dict[str, dict[str, Callable[[int], Any]]] = {
            "list": {
                "client": lambda number: client.recommend(number % USERS + 1),
                "raw": lambda number: post("/api/v1/recommend", {"user_id": number % USERS + 1}),
            },
            "event": {
                "client": lambda number: client.record_event(**event(number)),
                "raw": lambda number: post("/api/v1/events", {**event(number), "event_id": uuid.uuid4().hex}),
            },
        }
        return {kind: measured(ways, pairs) for kind, ways in asked.items()}


def measured(ways: dict[str, Callable[[int], Any]], pairs: int) -> Times:
    """The times of both ways, pair by pair."""
    times: Times = {way: {"time to the answer": [], "processor time": []} for way in ways}
    for number in range(WARM + pairs):
        order = random.sample(sorted(ways), len(ways))
        for place, way in enumerate(order):
            began, used = time.perf_counter(), time.process_time()
            ways[way](2 * number + place)
            taken = {"time to the answer": time.perf_counter() - began, "processor time": time.process_time() - used}
            if number >= WARM:
                for name, seconds in taken.items():
                    times[way][name].append(seconds)
    return times


def report(where: str, kind: str, times: Times) -> None:
    for name, raw in times["raw"].items():
        medians = [statistics.median(found) * 1000 for found in (times["client"][name], raw)]
        words = f"{where}, {kind}, {name}: client {medians[0]:.3f} ms, raw {medians[1]:.3f} ms"
        print(f"{words}, ratio {medians[0] / medians[1]:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default=f"http://127.0.0.1:{load_settings().ports.http}", help="of the API")
    parser.add_argument("--pairs", type=int, default=500, help="requests of each kind and way")
    given = parser.parse_args()
    expect_running(given.url)
    print(f"{machine()}; {given.pairs} pairs")
    for kind, times in in_python(given.url, given.pairs).items():
        report("Python", kind, times)
    node = shutil.which("node")
    if node is None:
        print("no Node on PATH: its client was not measured")
        return
    done = subprocess.run([node, SCRIPT, given.url, str(given.pairs)], capture_output=True, text=True, check=True)
    for kind, times in json.loads(done.stdout).items():
        report("Node", kind, times)


if __name__ == "__main__":
    main()
