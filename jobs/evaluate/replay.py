"""`python -m jobs.replay`: protocol P4 against the running system, over HTTP.

The system must know the first four fifths of the events only. To set one up beside your own:

    python -m jobs.replay --write-dataset DIR     the training part as a data set, DIR/processed
    RAYCOMMEND_DATASET_DIR=DIR RAYCOMMEND_STATE_DIR=DIR/state RAYCOMMEND_TRAINING_WEIGHTING=consumption make up
    python -m jobs.replay --out DIR/replay.jsonl

Before each event recommendations are asked for, then the event is sent. Users run in parallel, each in order, and
nobody runs far ahead. What was measured is appended to the file; started again, it goes on where it stopped (an event
sent twice counts once, by its id). Where the system has API keys, RAYCOMMEND_API_KEY is sent; it needs the scopes
recommend and events.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from configs.settings import PROJECT_DIR, SettingsError, load_settings
from data.dataset import DataError, Dataset, Tables, load_dataset
from data.dataset_writer import write_dataset
from data.prepare import MOVIELENS
from data.splits import replay_split
from jobs.simulate.http_client import key_header, post
from models.evaluation.gate import per_user
from models.evaluation.metrics import bootstrap_interval

K = 10
TRAIN_SHARE = 0.8
FROZEN_HR = (
    0.0758  # on MovieLens 100K: ALS trained once, user vectors frozen (simulated; see models.evaluation.prequential)
)
AHEAD = 16  # how far one user's event may overtake another's: time and popularity go on nearly as they did


@dataclass(frozen=True)
class Step:
    """One event of the replay; `number` counts from 0, `counted` says whether training knew its item."""

    number: int
    user_id: str
    item_id: str
    event_type: str
    value: float | None
    time_ms: int
    counted: bool


def steps(dataset: Dataset, train_share: float = TRAIN_SHARE) -> list[Step]:
    """The events after the first `train_share` of them, in the protocol's order.

    Raises:
        DataError: the data set's times do not say what came before what.
    """
    if not dataset.meta.time_trusted:
        raise DataError(f"{dataset.meta.name}: its times do not say what came before what: there is nothing to replay")
    frame = dataset.interactions
    split = replay_split(frame["timestamp_ms"].to_numpy(), train_share)
    known = set(frame["item_id"].iloc[split.train])
    rows = frame.iloc[split.test][["user_id", "item_id", "event_type", "value", "timestamp_ms"]].itertuples(index=False)
    return [
        Step(number, user, item, kind, None if np.isnan(value) else float(value), int(time_ms), item in known)
        for number, (user, item, kind, value, time_ms) in enumerate(rows)
    ]


def write_training_part(dataset: Dataset, directory: Path, train_share: float = TRAIN_SHARE) -> int:
    """The events before the replay as a data set of its own. Returns how many."""
    frame = dataset.interactions
    split = replay_split(frame["timestamp_ms"].to_numpy(), train_share)
    first = frame.iloc[np.sort(split.train)].reset_index(drop=True)
    meta = dataset.meta
    items = dataset.items.copy()
    # When an item was added is known from its first event; one that is yet to come must not betray itself.
    added = first.groupby("item_id")["timestamp_ms"].min()
    items["added_ms"] = items["item_id"].map(added).astype("Int64")
    write_dataset(
        directory / "processed",
        Tables(
            first,
            items,
            dataset.users,
            item_attributes=meta.item_attributes,
            user_attributes=meta.user_attributes,
        ),
        f"{meta.name}, first {len(first):,}",
        meta.source,
        meta.source_hash,
        (meta.user_id_type, meta.item_id_type),
        meta.preset,
        meta.time_trusted,
    )
    return len(first)


async def replay(
    client: httpx.AsyncClient, todo: Sequence[Step], out: Path, parallel: int, note: Callable[[int], None]
) -> None:
    """Ask and tell, for every step that `out` does not hold yet.

    Raises:
        ExceptionGroup: of httpx.HTTPError; the system does not answer, or refuses, after several tries.
    """
    done = {record["number"] for record in read_records(out)}
    finished = len(done)
    busy, near = asyncio.Semaphore(parallel), asyncio.Semaphore(AHEAD)
    latest: dict[str, asyncio.Task[None]] = {}  # each user's latest step
    with out.open("a") as file:

        async def run(step: Step, before: asyncio.Task[None] | None) -> None:
            nonlocal finished
            try:
                if before is not None:
                    await before
                async with busy:
                    record = await _one(client, step)
            finally:
                near.release()
            file.write(json.dumps(record) + "\n")
            file.flush()
            finished += 1
            note(finished)

        async with asyncio.TaskGroup() as group:
            for step in todo:
                if step.number not in done:
                    await near.acquire()
                    latest[step.user_id] = group.create_task(run(step, latest.get(step.user_id)))


async def _one(client: httpx.AsyncClient, step: Step) -> dict[str, Any]:
    asked = await post(client, "/api/v1/recommend", {"user_id": step.user_id, "top_k": K})
    shown = [str(entry["item_id"]) for entry in asked["recommendations"]]
    event = {
        "user_id": step.user_id,
        "item_id": step.item_id,
        "event_type": step.event_type,
        **({} if step.value is None else {"value": step.value}),
        "timestamp": step.time_ms / 1000,
        "event_id": f"replay-{step.number}",
        "recommendation_id": asked["recommendation_id"],
    }
    await post(client, "/api/v1/events", event)
    return {
        "number": step.number,
        "user_id": step.user_id,
        "counted": step.counted,
        "rank": shown.index(step.item_id) + 1 if step.item_id in shown else 0,
        "model_version": asked["model_version"],
        "degraded": asked["degraded"],
        "latency_ms": asked["latency_ms"],
    }


def read_records(out: Path) -> list[dict[str, Any]]:
    """What was measured so far; a line that a kill cut off is left out."""
    if not out.exists():
        return []
    text = out.read_text()
    if text and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        out.write_text(text)
    return [json.loads(line) for line in text.splitlines()]


def summary(records: Sequence[dict[str, Any]], frozen_hr: float | None = None, seed: int = 0) -> dict[str, Any]:
    """HR@10 and NDCG@10 over the counted events, with intervals over users.

    Args:
        frozen_hr: HR@10 of frozen vectors on the same events, where it is known: the ratio to it is reported.

    Raises:
        ValueError: no counted event.
    """
    counted = [record for record in records if record["counted"]]
    if not counted:
        raise ValueError("no event was counted yet")
    rank = np.array([record["rank"] for record in counted])
    hit = (rank > 0).astype(float)
    ndcg = np.where(rank > 0, 1 / np.log2(np.maximum(rank, 1) + 1), 0.0)
    names, user = np.unique([record["user_id"] for record in counted], return_inverse=True)
    generator = np.random.default_rng(seed)
    size, hits, gains = (np.bincount(user, weights) for weights in (np.ones(len(user)), hit, ndcg))
    drawn = generator.integers(len(names), size=(2000, len(names)))
    found: dict[str, Any] = {"events": len(counted), "users": len(names)}
    for name, values in (("hr_at_10", hits), ("ndcg_at_10", gains)):
        low, high = np.quantile(values[drawn].sum(axis=1) / size[drawn].sum(axis=1), [0.025, 0.975])
        found[name] = {"mean": float(values.sum() / size.sum()), "low": float(low), "high": float(high)}
    if frozen_hr is not None:
        found["ratio_to_frozen"] = found["hr_at_10"]["mean"] / frozen_hr
    found["per_user_hr"] = vars(bootstrap_interval(per_user(user, hit), seed))
    found["model_versions"] = sorted({str(record["model_version"]) for record in counted})
    found["degraded"] = sum(record["degraded"] for record in counted)
    found["latency_ms_p50_p99"] = np.quantile([record["latency_ms"] for record in counted], [0.5, 0.99]).tolist()
    return found


def gain(records: Sequence[dict[str, Any]], against: Sequence[dict[str, Any]], seed: int = 0) -> dict[str, float]:
    """HR@10 won over another replay, on the events that both counted, with a 95 % interval over users.

    Raises:
        ValueError: they have no counted event in common.
    """
    mine, other = ({one["number"]: one for one in every if one["counted"]} for every in (records, against))
    common = sorted(mine.keys() & other.keys())
    if not common:
        raise ValueError("the two replays have no counted event in common")
    won = np.array([float(mine[number]["rank"] > 0) - float(other[number]["rank"] > 0) for number in common])
    names, user = np.unique([mine[number]["user_id"] for number in common], return_inverse=True)
    total, size = np.bincount(user, won), np.bincount(user)
    drawn = np.random.default_rng(seed).integers(len(names), size=(2000, len(names)))
    low, high = np.quantile(total[drawn].sum(axis=1) / size[drawn].sum(axis=1), [0.025, 0.975])
    return {"events": float(len(common)), "mean": float(won.mean()), "low": float(low), "high": float(high)}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.replay", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", help="of the system; the local stack's, if left out")
    parser.add_argument("--out", type=Path, help="file of the measurements (JSON lines)")
    parser.add_argument("--dataset", type=Path, default=PROJECT_DIR / "data", help="where the whole data set lies")
    parser.add_argument("--parallel", type=int, default=16, help="users at once")
    parser.add_argument("--limit", type=int, help="only the first so many events")
    parser.add_argument("--against", type=Path, help="measurements of another replay: reports what was won over it")
    parser.add_argument("--write-dataset", type=Path, metavar="DIR", help="write the training part and stop")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 with one plain line when it cannot be done."""
    given = parse(arguments)
    try:
        settings = load_settings()
        if given.write_dataset is not None:
            n = write_training_part(load_dataset(given.dataset / "processed"), given.write_dataset)
            print(f"{given.write_dataset}: {n:,} events written")
            return 0
        whole = load_dataset(given.dataset / "processed")
        todo = steps(whole)[: given.limit]
        out = given.out or settings.state_dir / "replay.jsonl"
        out.parent.mkdir(parents=True, exist_ok=True)
        asyncio.run(_drive(given.url or f"http://127.0.0.1:{settings.ports.http}", todo, out, given.parallel))
        found = summary(read_records(out), FROZEN_HR if whole.meta.name == MOVIELENS else None)
        if given.against is not None:
            found["hr_at_10_gain"] = gain(read_records(out), read_records(given.against))
        print(json.dumps(found, indent=2))
    except (DataError, SettingsError, ValueError) as error:
        print(f"replay: {error}", file=sys.stderr)
        return 1
    except ExceptionGroup as group:
        print(f"replay: {group.exceptions[0]}; start again to go on", file=sys.stderr)
        return 1
    return 0


async def _drive(url: str, todo: Sequence[Step], out: Path, parallel: int) -> None:
    started = time.perf_counter()

    def note(finished: int) -> None:
        if finished % 500 == 0:
            print(f"{time.perf_counter() - started:6.1f} s  {finished:,} of {len(todo):,} events", flush=True)

    limits = httpx.Limits(max_connections=parallel)
    async with httpx.AsyncClient(base_url=url, timeout=30.0, limits=limits, headers=key_header()) as client:
        await replay(client, todo, out, parallel, note)
