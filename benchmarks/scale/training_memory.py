"""`python -m benchmarks.scale.training_memory`: peak memory and time of a training on generated data of a shop's shape.

A year of purchases: users with a stable taste for some departments, who buy again what they bought, items with a long
tail, times in whole minutes. Everything that `jobs.retrain` does between the data and the bundle is done (no search):
first stage, ranker, gate windows, fit on all. It runs without store and registry, in this process alone. Exit code 1
where the peak of memory is beyond its limit.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.scale.training_large import peak_gb
from configs.event_types import load_event_types
from configs.settings import Settings
from jobs.train.fit_bundle import evaluate_latest, fit_bundle
from models.factors.als import AlsParameters
from models.training.item_facts import item_facts
from models.training.past_requests import in_store_order
from models.training.ranker_judgement import train_second_stage
from models.training.ranker_windows import RANKER, Recipe
from models.training.training_data import TrainingData, training_data_of

LIMIT_GB = 2.0
_DAY_MS = 86_400_000


def purchases(n_events: int, n_users: int, n_items: int, departments: int, seed: int) -> pd.DataFrame:
    """Canonical interactions (see `data.dataset`), with times."""
    generator = np.random.default_rng(seed)
    department = generator.integers(departments, size=n_items)
    weight = 1.0 / (1.0 + np.arange(n_items)) ** 0.8
    by_department = [np.flatnonzero(department == number) for number in range(departments)]
    chances = [weight[items] / weight[items].sum() for items in by_department]
    user = generator.choice(n_users, n_events, p=generator.dirichlet(np.full(n_users, 2.0)))
    taste = generator.dirichlet(np.full(departments, 0.3), size=n_users)
    # One search for all: the cumulated tastes of the users, one after another, each from its number on.
    steps = (taste.cumsum(axis=1) + np.arange(n_users)[:, None]).ravel()
    drawn = (np.searchsorted(steps, user + generator.random(n_events)) - user * departments).clip(0, departments - 1)
    item = np.empty(n_events, np.int64)
    for number in range(departments):
        mine = np.flatnonzero(drawn == number)
        item[mine] = generator.choice(by_department[number], len(mine), p=chances[number])
    order = np.argsort(user, kind="stable")
    again = order[1:][(user[order[1:]] == user[order[:-1]]) & (generator.random(n_events - 1) < 0.4)]
    before = np.empty(n_events, np.int64)
    before[order[1:]] = order[:-1]
    item[again] = item[before[again]]
    times = np.sort(generator.integers(0, 365 * 24 * 60, n_events)) * 60_000 + 19_000 * _DAY_MS
    return pd.DataFrame(
        {
            "user_id": user.astype(str).astype(object),
            "item_id": item.astype(str).astype(object),
            "event_type": "purchase",
            "value": np.float32("nan"),
            "timestamp_ms": times,
        }
    )


def train(data: TrainingData, settings: Settings, departments: int) -> None:
    """Print the time and the peak after each step."""
    started = time.perf_counter()

    def tell(step: str) -> None:
        print(f"{time.perf_counter() - started:7.1f} s  peak {peak_gb():5.2f} GB  {step}", flush=True)

    parameters = AlsParameters(factors=settings.training.factors)
    ids = data.items.ids.tolist()
    names = [[f"department {int(item) % departments}"] for item in ids]
    catalogue = item_facts(data.items, ids, [None] * len(ids), names)
    metrics = evaluate_latest(data, settings, parameters, 0)
    tell("first stage evaluated")
    ordered = in_store_order(data)
    recipe = Recipe(settings.training.weighting, parameters, 0.5, settings.serving.candidates, 50)
    second = train_second_stage(ordered, catalogue, recipe, RANKER, 0)
    tell(f"ranker of {second.lists:,} lists judged on {len(second.requests):,} requests")
    path = fit_bundle(data, settings, parameters, 0, metrics, second.ranker, catalogue)
    tell(f"bundle written, {sum(file.stat().st_size for file in path.iterdir()) / 1e6:.0f} MB")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.training_memory", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--events", type=int, default=1_500_000)
    parser.add_argument("--users", type=int, default=2_500)
    parser.add_argument("--items", type=int, default=70_000)
    parser.add_argument("--departments", type=int, default=300)
    given = parser.parse_args(arguments)
    frame = purchases(given.events, given.users, given.items, given.departments, seed=0)
    types = load_event_types("shops")
    data = training_data_of(frame, types, "generated", ("int", "int"), 0, {}, "0" * 64)
    del frame
    print(f"{len(data):,} events, {len(data.users):,} users, {len(data.items):,} items; peak {peak_gb():.2f} GB")
    with tempfile.TemporaryDirectory() as folder:
        train(data, Settings(state_dir=Path(folder), data={"events": "shops"}), given.departments)
    return 1 if peak_gb() > LIMIT_GB else 0


if __name__ == "__main__":
    raise SystemExit(main())
