"""Lists for everybody, from a bundle that a real training wrote, on a real Ray."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from configs.settings import PROJECT_DIR, Settings
from data.dataset import load_dataset, processed_dir
from features.items.catalogue import Item, put_items
from features.redis.connection import connect
from features.redis.layout import keys_of
from jobs.batch.recommend_all import COLUMNS, main, prepare, recommend_block
from jobs.train.retrain import RetrainOptions, retrain
from models.factors.als import AlsParameters
from models.ranking.ranker import RankerParameters, fit_ranker
from models.training.first_stage import find_candidates
from models.training.ranker_lists import request_features, rerank

FIXED = AlsParameters(factors=8, regularization=2.0, alpha=4.0, iterations=5)
LATER_MS = 10_000_000_000.0


def train(settings: Settings) -> str:
    return retrain(settings, RetrainOptions(fixed=FIXED, force=True), lambda percent, line: None).version


def put(settings: Settings, *items: Item) -> None:
    async def write() -> None:
        client = connect(settings.patient_store, settings.store_url)
        await put_items(client, keys_of(settings.store), items)
        await client.aclose()

    asyncio.run(write())


def hide(settings: Settings, *item_ids: str) -> None:
    put(settings, *(Item(item, item, hidden=True) for item in item_ids))


def command(settings: Settings, ray: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    config = settings.state_dir.parent / "settings.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    environment = {"RAYCOMMEND_CONFIG": str(config), "PATH": "/usr/bin:/bin", "HOME": str(settings.state_dir.parent)}
    environment |= ray
    return subprocess.run(
        [sys.executable, "-m", "jobs.recommend_all", *arguments],
        cwd=PROJECT_DIR,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_everybody_gets_a_list_of_what_is_new_to_them(
    with_store: Settings, shared_ray: dict[str, str], tmp_path: Path
) -> None:
    version = train(with_store)
    hide(with_store, "3", "8")
    out = tmp_path / "lists"
    done = command(with_store, shared_ray, "--out", str(out), "--top-k", "5")
    assert done.returncode == 0, done.stderr
    assert f"lists of 60 users, by {version}" in done.stdout
    found = pd.read_parquet(out)
    assert tuple(found.columns) == COLUMNS
    assert set(found["model_version"]) == {version}
    dataset = load_dataset(processed_dir(with_store)).interactions
    had = set(zip(dataset["user_id"], dataset["item_id"], strict=True))
    assert not had & set(zip(found["user_id"], found["item_id"], strict=True))
    assert not {"3", "8"} & set(found["item_id"])
    lists = found.sort_values("rank").groupby("user_id")
    assert len(lists) == 60
    for _, mine in lists:
        assert mine["rank"].tolist() == list(range(1, len(mine) + 1))
        assert mine["item_id"].is_unique
        assert mine["score"].is_monotonic_decreasing
    first = found[found["rank"] == 1]
    assert (first["item_id"].astype(int) % 2 == first["user_id"].astype(int) % 2).mean() > 0.8
    assert not list(tmp_path.glob(".lists*"))


def test_blocks_do_not_change_the_lists_and_the_ranker_orders_them(with_store: Settings) -> None:
    train(with_store)
    plain = prepare(with_store, None, LATER_MS)
    candidates = find_candidates(plain.stage, plain.requests, 20, 5)
    features = np.concatenate([block for _, block, _ in request_features(plain.stage, plain.requests, candidates)])
    chosen = np.random.default_rng(0).random(len(features)) < 0.2
    lengths = (candidates.items >= 0).sum(axis=1)
    ranker = fit_ranker(features, chosen, lengths, RankerParameters(trees=5, smallest_leaf=10), seed=0)
    batch = replace(plain, ranker=ranker, candidates=20, trending=5)
    whole = recommend_block(batch, np.arange(60), 5)
    parts = [recommend_block(batch, part, 5) for part in np.split(np.arange(60), [7, 40])]
    pd.testing.assert_frame_equal(whole, pd.concat(parts, ignore_index=True))
    best = rerank(plain.stage, ranker, plain.requests, candidates, 5)
    assert whole["item_id"].tolist() == plain.stage.data.items.ids[best[best >= 0]].tolist()
    hot = [set(row[20:].tolist()) for row in candidates.items]  # behind the 20 by the factors
    named = [["trending" if item in late else "fold_in" for item in row] for row, late in zip(best, hot, strict=True)]
    assert whole["source"].tolist() == [source for row in named for source in row]
    assert set(whole["source"]) == {"fold_in", "trending"}
    assert whole["item_id"].tolist() != recommend_block(plain, np.arange(60), 5)["item_id"].tolist()


def test_an_item_that_nobody_has_met_reaches_those_who_like_its_category(with_store: Settings) -> None:
    train(with_store)
    names = {0: "even", 1: "odd"}
    items = [Item(str(n), str(n), categories=(names[n % 2],)) for n in range(40)]
    put(with_store, *items, Item("900", "New", categories=("even",), created_ms=5), Item("901", "Bare", created_ms=5))
    batch = replace(prepare(with_store, None, LATER_MS), ranker=None)
    lists = recommend_block(batch, np.arange(60), 10)
    assert "901" not in set(lists["item_id"])  # nothing is written of it
    new = lists[lists["item_id"] == "900"]
    assert set(new["source"]) == {"category"}
    assert sorted(new["user_id"].astype(int)) == list(range(0, 60, 2))
    assert set(lists[lists["item_id"] != "900"]["source"]) <= {"fold_in", "trending"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--version", "none"], "none"), ([], "no champion yet")],
)
def test_what_is_missing_is_named(
    with_store: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    arguments: list,
    words: str,
) -> None:
    monkeypatch.setattr("jobs.batch.recommend_all.load_settings", lambda: with_store)
    assert main(["--out", str(tmp_path / "lists"), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("recommend_all: ")
    assert words in error
    assert not (tmp_path / "lists").exists()
