"""What is served is what was evaluated: the same candidates, features and order, with the online store and without."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import orjson
import pytest
import scipy.sparse as sp

from configs.settings import Settings
from data.dataset import load_dataset
from data.prepare import processed_dir
from deployments.http.schemas import RecommendRequest
from deployments.recommend.ranking import Ranking
from deployments.recommend.retrieval import Retrieval
from features.users.erasure import Erasures
from jobs.maintenance.rebuild_features import RebuildOptions, rebuild_features
from jobs.train.load_data import load_training_data
from jobs.train.retrain import Result, RetrainOptions, retrain
from models.bundle.reading import Bundle, load_bundle
from models.factors.als import AlsParameters
from models.ranking.item_table import item_table
from models.training.first_stage import FirstStage, find_candidates, fit_first_stage, read_catalogue
from models.training.past_requests import Requests, in_store_order
from models.training.ranker_lists import rerank
from models.training.training_data import TrainingData
from tests.features.servers import Server, valkey_binary

REQUESTS = 1000
TOP_K = 20
PARAMETERS = AlsParameters(factors=32, regularization=30.0, alpha=4.0, iterations=6)


@pytest.fixture(scope="module")
def trained(project_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Result]]:
    """MovieLens 100K in a store of its own, and a model with a ranker in the champion's slot."""
    if not processed_dir(project_settings).exists():
        reason = "the data set is not there: python -m data.prepare"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("served")
    server = Server(valkey_binary(), folder / "store")
    try:
        settings = Settings(
            state_dir=folder / "state",
            data_dir=project_settings.data_dir,
            store={"url": server.url, "timeout_s": 30},
            serving={"deadline_s": 60},
            tracking={"uri": "http://127.0.0.1:9"},  # nobody listens; a training goes on without its registry
            training={"factors": 32, "ranker_trees": 40},
        )
        asyncio.run(rebuild_features(settings, RebuildOptions()))
        yield settings, retrain(settings, RetrainOptions(fixed=PARAMETERS, force=True), lambda percent, line: None)
    finally:
        server.stop()


def test_the_served_order_is_the_evaluated_order(trained: tuple[Settings, Result]) -> None:
    settings, result = trained
    bundle = load_bundle(result.path)
    assert bundle.ranking is not None, "this training was to give a ranker"
    data = in_store_order(load_training_data(settings, Erasures({})))
    # A longer history is cut in the store, while the sums beside it still know of what fell out.
    whole = np.flatnonzero(np.bincount(data.user) <= settings.store.history_limit)
    users = whole[np.arange(REQUESTS) % len(whole)]
    expected = evaluated(settings, bundle, data, users)
    served = asyncio.run(ask(settings, [str(data.users.ids[user]) for user in users.tolist()]))
    ids = [str(item) for item in data.items.ids.tolist()]
    # More than half would be right with wrong features too: what counts is all of them.
    different = [
        user
        for user, mine, theirs in zip(users.tolist(), served, expected.tolist(), strict=True)
        if mine != [ids[item] for item in theirs]
    ]
    assert different == []


def evaluated(settings: Settings, bundle: Bundle, data: TrainingData, users: np.ndarray) -> np.ndarray:
    """(B, TOP_K) as `jobs.evaluate` ranks, with the bundle's own arrays."""
    manifest, ranking = bundle.manifest, bundle.ranking
    assert ranking is not None
    assert manifest.ranker is not None
    catalogue = read_catalogue(data, load_dataset(processed_dir(settings)).items)
    everything = np.arange(len(data))
    fitted = fit_first_stage(data, everything, manifest.weighting, PARAMETERS, catalogue, 0, 1)
    np.testing.assert_array_equal([str(item) for item in data.items.ids], bundle.item_ids)
    stage: FirstStage = replace(
        fitted,
        factors=replace(fitted.factors, item_factors=bundle.item_factors, user_factors=bundle.user_factors),
        fold_in=type(fitted.fold_in)(
            bundle.item_factors,
            manifest.parameters.regularization,
            manifest.parameters.alpha,
            bundle.mean_user,
            prior_weight=settings.serving.prior_weight,
            weight_power=manifest.parameters.weight_power,
        ),
        relations=ranking.relations,
        table=item_table(bundle.item_factors, ranking.statistics, catalogue.categories),
        known_items=np.ones(len(data.items), bool),
    )
    by_user = [np.flatnonzero(data.user == user) for user in range(len(data.users))]
    n = len(users)
    requests = Requests(
        user=users,
        at_ms=np.full(n, float(data.times_ms.max())),
        rows=[by_user[user] for user in users.tolist()],
        relevant=sp.csr_matrix((n, len(data.items)), dtype=np.float32),
        visible=np.full(n, len(data)),
        popularity_rows=everything,
    )
    candidates = find_candidates(stage, requests, manifest.ranker.candidates, manifest.ranker.trending)
    return rerank(stage, ranking.ranker, requests, candidates, TOP_K)


async def ask(settings: Settings, user_ids: list[str]) -> list[list[str]]:
    """The lists that the two functions answer, 50 requests at a time, as under load."""
    retrieval = Retrieval("champion", settings)
    await retrieval.start()
    ranking = Ranking(settings, {"champion": retrieval.retrieve})
    await ranking.start()
    found: list[list[str]] = []
    try:
        for start in range(0, len(user_ids), 50):
            requests = [RecommendRequest(user_id=user, top_k=TOP_K) for user in user_ids[start : start + 50]]
            for answer in await asyncio.gather(*(ranking.recommend(request) for request in requests)):
                entries = orjson.loads(answer)["recommendations"]
                found.append([str(entry["item_id"]) for entry in entries])
    finally:
        await ranking.stop()
        await retrieval.stop()
    return found
