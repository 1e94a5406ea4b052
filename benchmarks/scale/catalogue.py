"""`python -m benchmarks.scale.catalogue`: a catalogue of a million items with ten attributes, and what replicas hold.

    store      time to put all items, and the memory that they take in a Valkey of its own that syncs every write
    replicas   each in a process of its own: time until it has read everything, memory that this adds, and how long
               after a PUT it sees the change when it polls as often as replicas do
    console    also searches, by words, by attribute, and pages
    retrieval  with a model that knows a part of the items (`benchmarks.scale.catalogue_retrieval`)

Wall clock and the process's own processor time are both printed. Exit code 1 where a limit is passed.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.scale import catalogue_retrieval
from benchmarks.scale.catalogue_retrieval import KNOWN, settings_at, train
from benchmarks.store import own_server, wait_for_store
from configs.event_types import load_event_types
from configs.settings import PROJECT_DIR, Serving, Store
from data.fields.attributes import AttributeType, Value
from deployments.catalogue.search import Search, SearchFilter, SearchIndex
from features.items.attribute_schema import declare_attributes
from features.items.catalogue import Catalogue, Item, put_items
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient, connect
from features.redis.keys import Keys
from features.redis.layout import keys_of
from models.content.description import TEXT_READ

START_LIMIT_S, PUT_LIMIT_S = 60.0, 1.0
CHUNK = 10_000
PUTS = 20
ATTRIBUTES: dict[str, AttributeType] = {
    "brand": "keyword",
    "department": "keyword",
    "colour": "keyword",
    "sizes": "keywords",
    "material": "keyword",
    "price": "number",
    "weight": "number",
    "new": "flag",
    "since": "time",
    "description": "text",
}
REPLICAS = {"no attributes": "none", "all attributes, texts cut": "retrieval", "all attributes, and searches": "all"}
_KEEP: dict[str, dict[str, Any]] = {"none": {"types": ()}, "retrieval": {"text_chars": TEXT_READ}, "all": {}}
_WORDS = (
    *("blue", "red", "small", "large", "kettle", "lamp", "table", "garden"),
    *("kitchen", "wool", "steel", "night", "summer", "travel", "organic", "classic"),
)


def made_items(n_items: int) -> Iterator[list[Item]]:
    """Items of a shop, chunk by chunk."""
    generator = np.random.default_rng(7)
    for start in range(0, n_items, CHUNK):
        size = min(CHUNK, n_items - start)
        words = generator.choice(_WORDS, (size, 12))
        numbers = generator.random((size, 4))
        yield [_item(start + row, words[row].tolist(), numbers[row].tolist()) for row in range(size)]


def _item(number: int, words: list[str], numbers: list[float]) -> Item:
    attributes: dict[str, Value] = {
        "brand": f"brand {int(numbers[0] ** 3 * 5000)}",
        "department": f"department {int(numbers[1] * 40)}",
        "colour": words[0],
        "sizes": ["S", "M", "L"][: 1 + int(numbers[2] * 3)],
        "material": words[1],
        "price": round(numbers[0] * 300, 2),
        "weight": round(numbers[1] * 20, 3),
        "new": numbers[2] < 0.1,
        "since": 1_600_000_000_000 + int(numbers[3] * 1e11),
        "description": " ".join(words[2:]),
    }
    return Item(
        f"item-{number}",
        " ".join(words[:4]).capitalize() + f" {number}",
        None,
        (str(attributes["department"]),),
        created_ms=1_700_000_000_000 + number,
        updated_ms=1_700_000_000_000 + number,
        attributes=attributes,
    )


def _opened(url: str) -> tuple[StoreClient, Keys]:
    limits = Store(timeout_s=30)
    return connect(limits, url), keys_of(limits)


async def fill(url: str, n_items: int) -> dict[str, float]:
    """Put all items into the store."""
    client, keys = _opened(url)
    await wait_for_store(OnlineStore(client, keys, Store(timeout_s=30), load_event_types()))
    await declare_attributes(client, keys, ATTRIBUTES, {}, "the benchmark")
    spent_s = 0.0
    for items in made_items(n_items):
        begun = time.perf_counter()
        await put_items(client, keys, items)
        spent_s += time.perf_counter() - begun
    used = (await client.raw.info("memory"))["used_memory"]
    await client.aclose()
    return {"put_s": spent_s, "store_mb": used / 1e6}


async def follow(url: str, keep: str) -> dict[str, float]:
    """What a replica's view of the catalogue costs, in this process."""
    process = psutil.Process()
    client, keys = _opened(url)
    view = Catalogue(client, keys, **_KEEP[keep])
    before = process.memory_info().rss
    begun, cpu = time.perf_counter(), time.process_time()
    changed = await view.refresh()
    found = {"load_s": time.perf_counter() - begun, "load_cpu_s": time.process_time() - cpu}
    index = SearchIndex()
    if keep == "all":
        begun, cpu = time.perf_counter(), time.process_time()
        index.take(view.items, changed)
        found |= {"index_s": time.perf_counter() - begun, "index_cpu_s": time.process_time() - cpu}
    changed = []
    waits = []
    for number in range(PUTS):
        title = f"Put number {number}"
        begun = time.perf_counter()
        await put_items(client, keys, [Item("item-5", title, attributes={"brand": "new"})])
        while view.items["item-5"].title != title:
            await asyncio.sleep(Serving().watch_s)
            changed = await view.refresh()
            if keep == "all":
                index.take(view.items, changed)
        waits.append(time.perf_counter() - begun)
    found |= {"put_seen_s": float(np.median(waits)), "put_seen_max_s": max(waits)}
    if keep == "all":
        found |= searches(index)
    found["added_mb"] = (process.memory_info().rss - before) / 1e6
    await client.aclose()
    return found


def searches(index: SearchIndex) -> dict[str, float]:
    """Processor milliseconds of searches, each the second of its kind."""

    def cost_ms(find: Callable[[], object]) -> float:
        find()
        begun = time.process_time()
        find()
        return (time.process_time() - begun) * 1000

    brand = Search(filters=(SearchFilter("brand", "keyword", "brand 7"),))
    return {
        "first_page_ms": cost_ms(lambda: index.find(Search(), 20, None, {})),
        "late_page_ms": cost_ms(lambda: index.find(Search(), 20, (0, 0.0, "item-9"), {})),
        "rare_word_ms": cost_ms(lambda: index.find(Search("kettle 123456"), 20, None, {})),
        "common_word_ms": cost_ms(lambda: index.find(Search("blue"), 20, None, {})),
        "attribute_ms": cost_ms(lambda: index.find(brand, 20, None, {})),
    }


def _measured(name: str, *options: str) -> bool:
    """Measure a kind of replica in a process of its own. Returns whether a limit is passed."""
    command = [sys.executable, "-m", "benchmarks.scale.catalogue", *options]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=PROJECT_DIR)
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    print(f"{name}: " + ", ".join(f"{key} {value:,.2f}" for key, value in found.items()), flush=True)
    return found["load_s"] + found.get("index_s", 0.0) > START_LIMIT_S or found["put_seen_s"] > PUT_LIMIT_S


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.catalogue", description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--port", type=int, default=6399, help="of a Valkey of its own")
    parser.add_argument("--of", choices=[*_KEEP, "model"], help="measure one kind of replica on the store at --url")
    parser.add_argument("--url", default="")
    parser.add_argument("--folder", type=Path, help="of the model, for --of model")
    given = parser.parse_args(argv)
    if given.of == "model":
        print(json.dumps(asyncio.run(catalogue_retrieval.follow(settings_at(given.folder, given.url)))))
        return 0
    if given.of:
        print(json.dumps(asyncio.run(follow(given.url, given.of))))
        return 0
    passed = False
    with own_server(given.port) as url:
        stored = asyncio.run(fill(url, given.items))
        print(f"{given.items:,} items: put in {stored['put_s']:.0f} s, {stored['store_mb']:,.0f} MB in the store")
        for name, keep in REPLICAS.items():
            passed |= _measured(name, "--of", keep, "--url", url)
        with tempfile.TemporaryDirectory() as name:
            known = [item for items in made_items(min(KNOWN, given.items)) for item in items]
            train(settings_at(Path(name), url), Path(name), known, ATTRIBUTES)
            passed |= _measured("retrieval with a model", "--of", "model", "--url", url, "--folder", name)
    return int(passed)


if __name__ == "__main__":
    sys.exit(main())
