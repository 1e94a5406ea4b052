"""`python -m benchmarks.scale.catalogue_stack`: a whole stack over a catalogue of a million items with ten attributes.

Takes the stack that `RAYCOMMEND_CONFIG` names, which must not run yet and have no model. Writes purchases and items
beside its data, starts it on these as `make up DATA= ITEMS=` does, trains a first model, stops it, and starts it again.
Prints how long each start took until a model answered, processor time and peak of memory by role, and how long after a
PUT the console shows the item with its new title, and a list of the recommender. Exit code 1 where a limit is passed.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import numpy as np
import orjson

from benchmarks.scale.catalogue import PUT_LIMIT_S, START_LIMIT_S, made_items
from benchmarks.scale.catalogue_retrieval import KNOWN, PURCHASES, USERS
from benchmarks.scale.watched_stack import Asking, Watched, stack, start
from configs.settings import load_settings

PUTS = 10
_FIRST_MS = 1_690_000_000_000
_MAP = """
name: million
preset: shops
interactions: {user_id: customer, item_id: item, time: at, event_type: {constant: purchase}, value: null}
items:
  item_id: item
  title: title
  categories: department
  attributes: {brand: keyword, department: keyword, colour: keyword, sizes: keywords, material: keyword, price: number,
    weight: number, new: flag, since: time, description: text}
"""


def write_files(folder: Path, n_items: int) -> dict[str, str]:
    """The data as somebody would bring it. Returns what `make up` is told of it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "items.jsonl").open("wb") as file:
        for items in made_items(n_items):
            for one in items:
                row = {"item": one.item_id, "title": one.title, **one.attributes}
                file.write(orjson.dumps(row) + b"\n")
    generator = np.random.default_rng(0)
    n_known = min(KNOWN, n_items)
    taste = generator.integers(0, 40, (USERS, 3))
    user = generator.integers(0, USERS, PURCHASES)
    near = taste[user, generator.integers(0, 3, PURCHASES)] * (n_known // 40)
    item = near + (generator.random(PURCHASES) ** 2 * (n_known // 40)).astype(np.int64)
    at = _FIRST_MS + np.sort(generator.integers(0, 10**10, PURCHASES))
    with (folder / "orders.csv").open("w") as text:
        text.write("customer,item,at\n")
        text.writelines(f"user-{u},item-{i},{t}\n" for u, i, t in zip(user, item, at, strict=True))
    (folder / "map.yaml").write_text(_MAP)
    return {
        "DATA": str(folder / "orders.csv"),
        "ITEMS": str(folder / "items.jsonl"),
        "MAP": str(folder / "map.yaml"),
    }


def puts_seen(client: httpx.Client) -> Iterator[tuple[float, float]]:
    """Seconds after a PUT until the console's search shows it, and until a list does."""
    for number in range(PUTS):
        user = f"user-{number}"
        first = _list_of(client, user)[0]
        title = f"Pqput{number}x{int(time.time())}"
        begun = time.perf_counter()
        answer = client.put(f"/api/v1/items/{first}", json={"title": title, "categories": ["put"]})
        answer.raise_for_status()
        waits = []
        for seen in (
            lambda title=title: title in client.get("/api/v1/items", params={"query": title}).text,
            lambda title=title, user=user: title in client.post("/api/v1/recommend", json={"user_id": user}).text,
        ):
            while not seen():
                if time.perf_counter() - begun > 60:
                    raise SystemExit(f"{title} was not seen within a minute")
                time.sleep(0.02)
            waits.append(time.perf_counter() - begun)
        yield waits[0], waits[1]


def _list_of(client: httpx.Client, user: str) -> list[str]:
    answer = client.post("/api/v1/recommend", json={"user_id": user})
    answer.raise_for_status()
    return [one["item_id"] for one in answer.json()["recommendations"]]


def _tell(what: str, watched: Watched, asking: Asking) -> None:
    print(f"{what}: something after {asking.popular_s:.1f} s, a list of the model after {asking.model_s:.1f} s")
    watched.show()
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.catalogue_stack", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--keep", action="store_true", help="let the stack run afterwards")
    given = parser.parse_args(arguments)
    settings = load_settings()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    os.environ.update(write_files(settings.data_dir.resolve() / "made", given.items))
    _tell("first start", *start(settings))
    stack(settings, "down").wait()
    watched, asking = start(settings)
    _tell("start again", watched, asking)
    with httpx.Client(base_url=f"http://127.0.0.1:{settings.ports.http}", timeout=10) as client:
        seen = list(puts_seen(client))
    watched.look(settings)
    for name, waits in zip(("search", "a list"), zip(*seen, strict=True), strict=True):
        print(f"a PUT is seen by {name} after {statistics.median(waits):.2f} s, the latest after {max(waits):.2f} s")
    print("after that")
    watched.show()
    if not given.keep:
        stack(settings, "down").wait()
    late = statistics.median(max(waits) for waits in seen)
    return 0 if asking.model_s <= START_LIMIT_S and late <= PUT_LIMIT_S else 1


if __name__ == "__main__":
    raise SystemExit(main())
