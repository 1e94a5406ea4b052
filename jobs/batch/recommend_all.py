"""`python -m jobs.recommend_all --out DIRECTORY`: lists for all users with a history, by Ray Data, as Parquet.

For what is sent rather than asked for: newsletters, exports, a cache elsewhere. The champion's bundle (or another) and
the events of data set and log go through the same candidates, features and ranker as training and serving; lists are
as of now, or of the newest event where that is older than a day. The directory appears when all of it is written.
"""

import argparse
import asyncio
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from configs.settings import Settings, SettingsError, load_settings
from data.dataset import DataError
from features.redis.errors import StoreError
from features.streams.compaction import compact
from jobs.batch.serving_stage import bundle_path, listed_items, served_stage
from jobs.launch.ray_session import ray_session
from jobs.train.erasures import current_erasures
from jobs.train.load_data import load_training_data
from models.bundle.arrays import BundleError
from models.bundle.reading import load_bundle
from models.ranking.ranker import Ranker
from models.relations.more_sources import NO_MORE, MoreSources
from models.retrieval.candidates import Source
from models.retrieval.whole_catalogue import top_k
from models.training.first_stage import FirstStage, find_candidates
from models.training.past_requests import Past, Requests, excluded_items, in_store_order
from models.training.ranker_lists import rank_scores
from models.training.training_data import with_items

BLOCK = 512  # users in one task
COLUMNS = ("user_id", "item_id", "rank", "score", "source", "model_version")
_SOURCES = np.array([source.name.lower() for source in Source], object)


@dataclass(frozen=True)
class UserBatch:
    """Whatever a block of users needs. `requests` are those of all users, one each."""

    stage: FirstStage
    ranker: Ranker | None
    requests: Requests
    candidates: int
    trending: int
    popular: np.ndarray
    version: str
    more: MoreSources = NO_MORE


def recommend_block(batch: UserBatch, rows: np.ndarray, k: int) -> pd.DataFrame:
    """Lists of the users of these rows of `batch.requests`; the columns are `COLUMNS`, ranks count from 1.

    Without a single event that speaks for anything a user gets what is popular.
    """
    data = batch.stage.data
    requests = batch.requests.some(rows)
    trending = batch.trending if batch.ranker else 0
    found = find_candidates(batch.stage, requests, max(k, batch.candidates), trending, batch.more)
    scores = found.scores if batch.ranker is None else rank_scores(batch.stage, batch.ranker, requests, found)
    order = np.argsort(np.where(found.items >= 0, -scores, np.inf), axis=1, kind="stable")[:, :k]
    assert found.sources is not None
    items, scores, sources = (np.take_along_axis(part, order, axis=1) for part in (found.items, scores, found.sources))
    known = (found.items[:, :1] >= 0).ravel()
    unknown = np.flatnonzero(~known).tolist()
    excluded = excluded_items(data, [requests.rows[row] for row in unknown], batch.stage.weighting)
    for place, row in enumerate(unknown):
        heat = np.where(batch.stage.known_items, batch.popular, -np.inf)
        heat[excluded.indices[excluded.indptr[place] : excluded.indptr[place + 1]]] = -np.inf
        items[row] = top_k(heat[None, :], k)[0]
        scores[row] = batch.popular[np.maximum(items[row], 0)]
        sources[row] = Source.POPULAR
    who, places = np.nonzero(items >= 0)
    return pd.DataFrame(
        {
            "user_id": data.users.ids[requests.user[who]],
            "item_id": data.items.ids[items[who, places]],
            "rank": (places + 1).astype(np.int32),
            "score": scores[who, places].astype(np.float32),
            "source": _SOURCES[sources[who, places]],
            "model_version": batch.version,
        },
        columns=COLUMNS,
    )


def prepare(settings: Settings, version: str | None, now_ms: float) -> UserBatch:
    """Read bundle, events and catalogue.

    Raises:
        BundleError, DataError, StoreError: what is missing or damaged.
    """
    bundle = load_bundle(bundle_path(settings, version))
    asyncio.run(compact(settings))
    # Items that nobody has met yet are shown by what is written of them, as to whoever asks.
    data = with_items(load_training_data(settings, current_erasures(settings)), listed_items(settings))
    data = in_store_order(data)
    stage = served_stage(settings, bundle, data)
    n_users = len(data.users)
    requests = Past(data).requests(np.arange(n_users), np.full(n_users, len(data)), np.full(n_users, now_ms))
    facts = bundle.manifest.ranker
    if facts is not None and facts.more.near:
        stage = replace(stage, trained_on=np.arange(len(data)))
        assert stage.near.counts.n_items == len(data.items)  # they are counted here, once for all blocks
    return UserBatch(
        stage,
        bundle.ranking.ranker if bundle.ranking is not None else None,
        requests,
        facts.candidates if facts is not None else settings.serving.candidates,
        facts.trending if facts is not None else 0,
        np.bincount(stage.weights.indices, minlength=len(data.items)).astype(np.float64),
        bundle.manifest.version,
        facts.more if facts is not None else NO_MORE,
    )


def write_all(settings: Settings, batch: UserBatch, out: Path, k: int) -> int:
    """Run all blocks on Ray and write `out`, a directory that must not exist. Returns the number of users."""
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with ray_session(settings):
        import ray

        ray.data.DataContext.get_current().enable_progress_bars = False
        shared = ray.put(batch)

        def block(rows: Any) -> Any:
            return recommend_block(ray.get(shared), np.asarray(rows["id"]), k)

        n = len(batch.requests)
        blocks = ray.data.range(n, override_num_blocks=max(1, -(-n // BLOCK)))
        blocks.map_batches(block, batch_size=BLOCK).write_parquet(str(partial))
    partial.rename(out)
    return n


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 with one plain line when it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m jobs.recommend_all", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="directory to write; must not exist")
    parser.add_argument("--version", help="of a bundle; the champion's if left out")
    parser.add_argument("--top-k", type=int, default=10, help="length of the lists, 1 to 100")
    given = parser.parse_args(arguments)
    if not 1 <= given.top_k <= 100:
        parser.error("--top-k must be 1 to 100")
    out = given.out.resolve()
    if out.exists():
        parser.error(f"--out: {out} exists")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        settings = load_settings()
        batch = prepare(settings, given.version, time.time() * 1000)
        users = write_all(settings, batch, out, given.top_k)
    except (BundleError, DataError, SettingsError, StoreError) as error:
        print(f"recommend_all: {error}", file=sys.stderr)
        return 1
    print(f"{out}: lists of {users:,} users, by {batch.version}")
    return 0
