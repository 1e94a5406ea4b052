"""A `Retrieval` replica over a large catalogue of which its model knows a small part; see `benchmarks.scale.catalogue`.

model      a data set of purchases of the first items is written, and `jobs.retrain` trains on it, with a ranker
           and a content map that read the attributes
replica    time until it is ready, memory that this adds, how long after a PUT of a new item lists hold it, what a
           list takes, and how long the event loop does nothing else while very many items are imported
"""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import yaml

from configs.settings import PROJECT_DIR, Settings, load_settings
from data.dataset import Tables, processed_dir
from data.dataset_writer import write_dataset
from data.fields.attributes import AttributeType
from deployments.recommend.messages import Question
from deployments.recommend.retrieval import Retrieval
from features.items.catalogue import Item, put_items
from features.redis.connection import StoreClient, connect
from features.redis.keys import Keys
from features.redis.layout import keys_of
from features.serving.slots import CHAMPION

KNOWN = 20_000
PURCHASES, USERS = 60_000, 1_000
PUTS, LISTS, BATCH = 20, 50, 8
IMPORTED = 20_000


def settings_at(folder: Path, url: str) -> Settings:
    """Settings of a stack of its own in this folder, on the store at `url`, which are written to `settings.yaml`."""
    given = {
        "state_dir": str(folder / "state"),
        "data_dir": str(folder / "data"),
        "store": {"url": url},
        "data": {"events": "shops"},
        "training": {"ranker_trees": 50},  # how good the model is does not matter here
    }
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(given))
    return load_settings(**given)


def train(settings: Settings, folder: Path, items: list[Item], schema: dict[str, AttributeType]) -> None:
    """Train on purchases of these items, and have the model served.

    Raises:
        subprocess.CalledProcessError: the training failed.
    """
    generator = np.random.default_rng(0)
    departments = np.array([item.categories[0] for item in items])
    names, of_item = np.unique(departments, return_inverse=True)
    members = [np.flatnonzero(of_item == number) for number in range(len(names))]
    taste = generator.integers(0, len(names), (USERS, 3))
    user = generator.integers(0, USERS, PURCHASES)
    chosen = taste[user, generator.integers(0, 3, PURCHASES)]
    place = (generator.random(PURCHASES) ** 2 * np.array([len(mine) for mine in members])[chosen]).astype(int)
    item = np.array([members[number][at] for number, at in zip(chosen.tolist(), place.tolist(), strict=True)])
    frame = pd.DataFrame(
        {
            "user_id": [f"user-{number}" for number in user.tolist()],
            "item_id": [items[number].item_id for number in item.tolist()],
            "event_type": "purchase",
            "value": pd.array([None] * PURCHASES, "float32"),
            "timestamp_ms": 1_690_000_000_000 + np.sort(generator.integers(0, 10**10, PURCHASES)),
        }
    )
    described = pd.DataFrame(
        {
            "item_id": [one.item_id for one in items],
            "title": [one.title for one in items],
            "year": pd.array([None] * len(items), "Int16"),
            "categories": [list(one.categories) for one in items],
            "added_ms": pd.array([None] * len(items), "Int64"),
            **{name: [one.attributes.get(name) for one in items] for name in schema},
        }
    )
    users = pd.DataFrame({"user_id": [f"user-{number}" for number in range(USERS)]})
    tables = Tables(frame, described, users, item_attributes=schema)
    write_dataset(processed_dir(settings), tables, "purchases", "benchmark", "", ("str", "str"))
    command = [sys.executable, "-m", "jobs.retrain", "--no-search", "--iterations", "5", "--force"]
    environment = {**os.environ, "RAYCOMMEND_CONFIG": str(folder / "settings.yaml")}
    subprocess.run(command, check=True, cwd=PROJECT_DIR, env=environment, stdout=subprocess.DEVNULL)


async def follow(settings: Settings) -> dict[str, float]:
    """What the replica costs, in this process."""
    process = psutil.Process()
    client, keys = connect(settings.store, settings.store_url), keys_of(settings.store)
    replica = Retrieval(CHAMPION, settings)
    before = process.memory_info().rss
    begun, cpu = time.perf_counter(), time.process_time()
    await replica.start()
    found = {"load_s": time.perf_counter() - begun, "load_cpu_s": time.process_time() - cpu}
    found["list_ms"], found["similar_ms"] = await _lists(replica), await _similar(replica)
    found["added_mb"] = (process.memory_info().rss - before) / 1e6
    waits = []
    for number in range(PUTS):
        begun = time.perf_counter()
        await put_items(client, keys, [_new(f"put-{number}", f"put {number}")])
        async with asyncio.timeout(60):
            while f"put-{number}".encode() not in await _listed(replica, f"put {number}"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        waits.append(time.perf_counter() - begun)
    found |= {"put_seen_s": float(np.median(waits)), "put_seen_max_s": max(waits)}
    found["longest_pause_ms"] = await _pause_of_an_import(replica, client, keys)
    found["peak_mb"] = (process.memory_info().rss - before) / 1e6
    await replica.stop()
    await client.aclose()
    return found


def _new(item_id: str, category: str) -> Item:
    now_ms = int(time.time() * 1000)
    return Item(item_id, "Organic kettle", None, (category,), created_ms=now_ms, attributes={"brand": "brand 7"})


def _question(category: str | None = None, n: int = 150) -> Question:
    included = None if category is None else (category,)
    return Question(b"user-1", None, None, n, True, (), included, ())


async def _listed(replica: Retrieval, category: str) -> list[bytes]:
    reply = await replica.retrieve([_question(category, 5)])
    return reply.answers[0].item_ids.split(b"\n")


async def _lists(replica: Retrieval) -> float:
    """Processor milliseconds of a list, in batches."""
    questions = [_question()] * BATCH
    await replica.retrieve(questions)
    begun = time.process_time()
    for _ in range(LISTS):
        await replica.retrieve(questions)
    return (time.process_time() - begun) * 1000 / LISTS / BATCH


async def _similar(replica: Retrieval) -> float:
    begun = time.process_time()
    for number in range(LISTS):
        await replica.similar(f"item-{KNOWN + number}".encode(), 10)
    return (time.process_time() - begun) * 1000 / LISTS


async def _pause_of_an_import(replica: Retrieval, client: StoreClient, keys: Keys) -> float:
    """Milliseconds, at most, that the event loop was kept from requests while items were imported."""
    items = [_new(f"imported-{number}", "imported") for number in range(IMPORTED)]
    importing = asyncio.create_task(put_items(client, keys, items))
    longest, due = 0.0, time.perf_counter() + 5
    while not importing.done() or time.perf_counter() < due:
        begun = time.perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - begun)
    await importing
    return longest * 1000
