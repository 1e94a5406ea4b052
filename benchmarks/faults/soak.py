"""Ten minutes of everything at once: lists and events at a steady rate while models are swapped and trained, events are
compacted and an experiment runs. `make soak`, or for an hour `make soak MINUTES=60`.

It starts a stack of its own. Printed is what a person would ask: failed requests, the slowest lists, the memory of each
process that lived through it, and what is kept against its budget. Exit code 1 when a request failed, when a process
grew by more than 5 % after the first third, or when a budget is passed.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.faults.__main__ import known_ids
from benchmarks.faults.clients import Crowd
from benchmarks.faults.stack import BrokenStack, own_settings, wait_for
from benchmarks.serving import machine
from configs.settings import load_settings
from data.dataset import processed_dir
from data.prepare import prepare

LISTS_PER_S = 60.0
EVENTS_PER_S = 60.0
CLIENTS = 8
SAMPLE_S = 5.0
STEP_S = 30.0
GROWTH = 0.05
NOISE_MB = 4.0
"""A process may move by so much without having grown: one arena of its allocator."""


class Load(Crowd):
    """Clients at a steady rate: each waits until its next request is due.

    Attributes:
        took_s: seconds of each list that came.
        failed: what else came, at most 100 of it; `failures` counts all.
        sent: events that were acknowledged.
    """

    def __init__(self, url: str, users: list[int | str], items: list[int | str]) -> None:
        self._url, self._users, self._items = url, users, items
        self._lock = threading.Lock()
        super().__init__([threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)])
        self.took_s: list[float] = []
        self.failed: list[str] = []
        self.failures = 0
        self.sent = 0

    def _run(self, client: int) -> None:
        pause_s = CLIENTS / (LISTS_PER_S + EVENTS_PER_S)
        due = time.monotonic() + client * pause_s / CLIENTS
        with httpx.Client(base_url=self._url, timeout=15, trust_env=False) as http:
            for number in itertools.count():
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
                due = max(due + pause_s, time.monotonic() - 1)
                self._one(http, client, number)

    def _one(self, http: httpx.Client, client: int, number: int) -> None:
        user = self._users[(client * 131 + number * 17) % len(self._users)]
        item = self._items[(client + number * 7) % len(self._items)]
        asks = number % 2 == 0
        path = "/api/v1/recommend" if asks else "/api/v1/events"
        body = {"user_id": user} if asks else {"user_id": user, "item_id": item, "event_type": "click"}
        begun = time.monotonic()
        try:
            answer = http.post(path, json=body)
            wrong = None if answer.status_code == 200 else f"{answer.status_code} {answer.text[:200]}"
        except httpx.HTTPError as error:
            wrong = repr(error)
        with self._lock:
            if wrong is not None:
                self.failures += 1
                self.failed = [*self.failed[-99:], wrong]
            elif asks:
                self.took_s.append(time.monotonic() - begun)
            else:
                self.sent += 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        base = load_settings()
        prepare(base)
        stack = BrokenStack(own_settings(Path(folder) / "state", base), Path(folder) / "settings.yaml")
        up = stack.command("up")
        if up.returncode != 0:
            print(up.stdout[-2000:], up.stderr[-2000:], file=sys.stderr)
            return 1
        try:
            wait_for(stack.well, 120, "the stack")
            wrong = soak(stack, args.minutes * 60, *known_ids(processed_dir(base)))
        finally:
            stack.command("down")
    for text in wrong:
        print(f"NOT SO: {text}")
    return 1 if wrong else 0


def soak(stack: BrokenStack, seconds: float, users: list[int | str], items: list[int | str]) -> list[str]:
    """Run it, print what was seen; returns what was not as it should be."""
    memory: defaultdict[tuple[int, str], list[tuple[float, float]]] = defaultdict(list)
    begun, steps, done = time.monotonic(), itertools.cycle(STEPS), []
    next_step = begun + STEP_S
    with Load(stack.url, users, items) as load:
        while (now := time.monotonic()) - begun < seconds:
            for key, megabytes in resident(stack).items():
                memory[key].append((now - begun, megabytes))
            if now >= next_step:
                step = next(steps)
                done.append(step(stack))
                next_step = max(next_step + STEP_S, time.monotonic())
            time.sleep(SAMPLE_S)
    kept = httpx.get(f"{stack.url}/api/v1/metrics/system", timeout=20, trust_env=False).json()["kept"]
    took = sorted(load.took_s)
    print(f"{machine()}; {seconds / 60:.0f} minutes, {len(took):,} lists, {load.sent:,} events, {load.failures} failed")
    print(f"lists: median {took[len(took) // 2] * 1000:.1f} ms, p99 {took[int(len(took) * 0.99)] * 1000:.1f} ms")
    print("done meanwhile: " + ", ".join(f"{text} {done.count(text)} times" for text in sorted(set(done))))
    wrong = [f"{load.failures} requests failed, such as {load.failed[-1]}"] if load.failures else []
    wrong += [text for text in done if text.endswith("failed")]
    wrong += grown(memory, seconds)
    for one in kept:
        used, budget = one["used_bytes"], one["budget_bytes"]
        print(f"  kept {one['group']:<28} {used / 1e6:9.2f} MB" + (f" of {budget / 1e6:.0f}" if budget else ""))
        if budget and used > budget:
            wrong.append(f"{one['group']} is over its budget")
    return wrong


def resident(stack: BrokenStack) -> dict[tuple[int, str], float]:
    """(pid, name) -> MB resident."""
    found = {}
    for process in stack.processes():
        try:
            words = process.cmdline()
            found[process.pid, " ".join(words)[:60]] = process.memory_info().rss / 1e6
        except psutil.Error:
            continue
    return found


def grown(memory: dict[tuple[int, str], list[tuple[float, float]]], seconds: float) -> list[str]:
    """The processes that lived from the first third to the end and grew; prints all that lived so long."""
    wrong = []
    for (_, name), samples in sorted(memory.items(), key=lambda pair: pair[0][1]):
        early = [megabytes for at, megabytes in samples if 0.3 * seconds <= at < 0.45 * seconds]
        late = [megabytes for at, megabytes in samples if at >= 0.85 * seconds]
        if not early or not late:
            continue
        before, after = statistics.median(early), statistics.median(late)
        print(f"  {name:<60} {before:8.1f} MB -> {after:8.1f} MB ({after / before - 1:+.1%})")
        if after > before * (1 + GROWTH) + NOISE_MB:
            wrong.append(f"{name} grew from {before:.1f} to {after:.1f} MB")
    return wrong


def _job(stack: BrokenStack, *words: str) -> str:
    job = stack.job("jobs.submit", "--wait", "--", "python", "-m", *words)
    job.communicate(timeout=600)
    return f"{words[0]}" if job.returncode == 0 else f"{words[0]} failed"


def retrain(stack: BrokenStack) -> str:
    return _job(stack, "jobs.retrain", "--trials", "1", "--force")


def compact(stack: BrokenStack) -> str:
    return _job(stack, "jobs.compact")


def swap(stack: BrokenStack) -> str:
    """Promote the version that is not the champion, if there are two."""
    with httpx.Client(base_url=stack.url, timeout=20, trust_env=False) as http:
        found: dict[str, Any] = http.get("/api/v1/models").json()
        taken = [one["version"] for one in found["slots"].values()]
        others = [one["version"] for one in found["models"] if one["version"] not in taken]
        if not others:
            return "swap without a second version"
        answer = http.post(f"/api/v1/models/{others[0]}/promote")
    return "swap" if answer.is_success else f"swap: {answer.text[:200]} failed"


def experiment(stack: BrokenStack) -> str:
    """Start an experiment between two policies of the champion, or stop the one that runs."""
    with httpx.Client(base_url=stack.url, timeout=20, trust_env=False) as http:
        running = [one for one in http.get("/api/v1/experiments").json()["experiments"] if one["status"] == "running"]
        if running:
            answer = http.post(f"/api/v1/experiments/{running[0]['id']}/stop")
        else:
            arms = [{"name": name, "slot": "champion", "weight": 0.5} for name in ("a", "b")]
            body = {"hypothesis": "nothing differs", "variants": arms}
            made = http.post("/api/v1/experiments", json=body)
            answer = http.post(f"/api/v1/experiments/{made.json()['id']}/start") if made.is_success else made
    return "experiment" if answer.is_success else f"experiment: {answer.text[:200]} failed"


# The champion cannot be moved while an experiment compares it.
STEPS = (retrain, swap, compact, experiment, compact, experiment, swap, swap)

if __name__ == "__main__":
    sys.exit(main())
