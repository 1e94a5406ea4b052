"""How soon an event counts: send one, and ask at once; the next answer must follow from it, every time.

Start the stack (`make up`), then `python -m benchmarks.freshness`.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import httpx
import numpy as np

from benchmarks.serving import expect_running, machine
from configs.settings import load_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/freshness.json"))
    args = parser.parse_args()
    url = f"http://127.0.0.1:{load_settings().ports.http}"
    expect_running(url)
    taken_ms = []
    changed = 0
    with httpx.Client(base_url=url, timeout=10) as client:
        for number in range(args.tries):
            user = f"freshness-{time.time_ns()}-{number % 50}"
            before = _items(client, user)
            liked = before[number % 10]
            started = time.perf_counter()
            event = {"user_id": user, "item_id": liked, "event_type": "like"}
            client.post("/api/v1/events", json=event).raise_for_status()
            after = _items(client, user)
            taken_ms.append((time.perf_counter() - started) * 1000)
            changed += liked not in after and after != before
    report = {
        "machine": machine(),
        "command": " ".join(sys.argv),
        "tries": args.tries,
        "changed": changed,
        "event_and_next_list_p50_ms": float(np.percentile(taken_ms, 50)),
        "event_and_next_list_p99_ms": float(np.percentile(taken_ms, 99)),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")
    print(
        f"{changed} of {args.tries} next lists followed from the event; event and list together: "
        f"p50 {report['event_and_next_list_p50_ms']:.1f} ms, p99 {report['event_and_next_list_p99_ms']:.1f} ms"
    )


def _items(client: httpx.Client, user: str) -> list[object]:
    answer = client.post("/api/v1/recommend", json={"user_id": user}).raise_for_status()
    return [entry["item_id"] for entry in answer.json()["recommendations"]]


if __name__ == "__main__":
    main()
