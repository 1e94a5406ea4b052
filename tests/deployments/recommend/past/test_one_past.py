"""Training and evaluation see of a past request what serving saw when it came: MovieLens, replayed through the store.

Events of one second, events that arrive late, histories longer than the store keeps, and items that were put into the
catalogue or changed after the training are among them; items and users have attributes of each type. Of half the items
an event lets them be seen no more, and the others come again; every source of candidates is on. 300 requests on a third
of the users show each of these; the 1,000 on all users take half a minute of processor time (marker `matrix`).
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from configs.settings import Settings
from data.dataset import Tables, load_dataset, processed_dir
from data.dataset_writer import write_dataset
from data.fields.attributes import AttributeType
from data.prepare import prepare
from features.streams.compaction import compact
from features.users.erasure import Erasures
from jobs.batch.serving_stage import catalogue_of, read_catalogue
from jobs.maintenance.rebuild_features import RebuildOptions, rebuild_features
from jobs.train.load_data import load_training_data
from jobs.train.retrain import Result, RetrainOptions, retrain
from models.bundle.reading import load_bundle
from models.factors.als import AlsParameters
from models.ranking.block.habits import HABIT_FEATURES
from models.ranking.block.repeats import REPEAT_FEATURES
from models.ranking.features import USER_FEATURES
from models.relations.more_sources import MoreSources
from models.training.bundle_stage import stage_of_bundle
from models.training.first_stage import find_candidates
from models.training.past_requests import Past, in_store_order
from models.training.ranker_lists import request_features, rerank
from models.training.training_data import places
from tests.deployments.recommend.past.replayed_past import (
    ASKED,
    EVENTS,
    NEW_ITEMS,
    TOP_K,
    arriving,
    attributes,
    coming_again,
    replay,
)
from tests.features.servers import Server, valkey_binary

MORE = MoreSources(repeats=10, follows=20, neighbours=20, near=20)
ITEM_ATTRIBUTES: dict[str, AttributeType] = {
    "price": "number",
    "blurb": "text",
    "studio": "keyword",
    "moods": "keywords",
    "colour": "flag",
    "released": "time",
}
PARAMETERS = AlsParameters(factors=32, regularization=30.0, alpha=4.0, iterations=6)


@dataclass(frozen=True)
class Size:
    """Every so-many-th of the users, beside the one of the longest history, and rounds of requests."""

    each: int
    rounds: int


@pytest.fixture(
    scope="module",
    params=[Size(each=3, rounds=6), pytest.param(Size(each=1, rounds=20), marks=pytest.mark.matrix)],
    ids=["300 requests", "1,000 requests"],
)
def size(request: pytest.FixtureRequest) -> Size:
    found: Size = request.param
    return found


@pytest.fixture(scope="module")
def trained(
    size: Size,
    project_settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch_module: pytest.MonkeyPatch,
) -> Iterator[tuple[Settings, Result, pd.DataFrame]]:
    """The earlier part of MovieLens 100K in a store of its own, a model with a ranker of it, and the later events."""
    prepare(project_settings)
    whole = load_dataset(processed_dir(project_settings))
    asked = whole.interactions[of_some_users(whole.interactions["user_id"], size.each)]
    ordered = coming_again(asked.sort_values("timestamp_ms", kind="stable").reset_index(drop=True))
    monkeypatch_module.setattr("deployments.recommend.near.follower.FOLLOW_S", 0.02)
    for module in ("features.recording.online_store", "features.recovery.seed"):  # one partition holds all items
        monkeypatch_module.setattr(f"{module}.TRENDING_LIMIT", 4000)
    monkeypatch_module.setattr(
        "models.training.ranker_judgement.choose_sources", lambda *_: (MORE, "as the test wants")
    )
    monkeypatch_module.setattr(
        "models.training.ranker_judgement.keep_attributes", lambda *given: (given[-1], "as the test wants")
    )
    cut = len(ordered) - size.rounds * EVENTS
    folder = tmp_path_factory.mktemp("past")
    # Items without any event are candidates in serving alone; training knows nothing of them. By their categories they
    # reach no list here, by what is written of them they would.
    described = whole.items[whole.items["item_id"].isin(ordered[:cut]["item_id"])]
    described = described.join(pd.DataFrame(attributes(described["item_id"].tolist(), ordered[:cut]), described.index))
    users = whole.users[["user_id"]].copy()
    place = np.arange(len(users))
    users["age"] = np.where(place % 9 == 0, np.nan, place % 60.0)
    users["town"] = [f"town {number % 12}" if number % 9 else None for number in place.tolist()]
    users["member"] = [bool(number % 2) for number in place.tolist()]
    tables = Tables(
        ordered[:cut],
        described,
        users,
        item_attributes=ITEM_ATTRIBUTES,
        user_attributes={"age": "number", "town": "keyword", "member": "flag"},
    )
    write_dataset(folder / "processed", tables, whole.meta.name, "the earlier part", "0" * 64, ("int", "int"))
    server = Server(valkey_binary(), folder / "store")
    try:
        settings = Settings(
            state_dir=folder / "state",
            data_dir=folder,
            # Where a row of near pairs is full, what goes depends on the order in which partitions are read.
            store={"url": server.url, "timeout_s": 30, "partitions": 1},
            serving={"deadline_s": 60, "trending_s": 0.02, "watch_s": 0.02, "cache_size": 0, "trending_window": "1d"},
            tracking={"uri": "http://127.0.0.1:9"},  # nobody listens; a training goes on without its registry
            training={"factors": 32, "ranker_trees": 200, "content": False},
            data={"events": "groceries"},
        )
        asyncio.run(rebuild_features(settings, RebuildOptions()))
        result = retrain(settings, RetrainOptions(fixed=PARAMETERS, force=True), lambda percent, line: None)
        yield settings, result, ordered[cut:]
    finally:
        server.stop()


def of_some_users(user_ids: pd.Series, each: int) -> np.ndarray:
    """Which rows are of every `each`-th user, or of the user with most rows."""
    found: np.ndarray = ((user_ids.astype(int) % each == each - 1) | (user_ids == user_ids.mode()[0])).to_numpy()
    return found


def test_training_sees_what_serving_saw(size: Size, trained: tuple[Settings, Result, pd.DataFrame]) -> None:
    settings, result, later = trained
    events = arriving(later)
    bundle = load_bundle(result.path)
    facts = bundle.manifest.ranker
    assert facts is not None, "this training was to give a ranker"
    assert bundle.ranking is not None
    ranker = bundle.ranking.ranker
    served = asyncio.run(replay(settings, events, ranker))
    asyncio.run(compact(settings))
    assert facts.trending_window == "1d", "that of the settings"
    assert facts.more == MORE
    assert bundle.ranking.reads_repeats
    used = bundle.ranking.attributes
    assert {one.type for one in used.items} == set(ITEM_ATTRIBUTES.values()) - {"text"}
    assert {one.name for one in used.users} == {"age", "town", "member"}
    assert {name[:5] for name in facts.attribute_features} == {"item.", "user."}

    data = in_store_order(load_training_data(settings, Erasures({})))
    stage = stage_of_bundle(
        bundle,
        data,
        catalogue_of(data, read_catalogue(settings)),
        settings.serving.prior_weight,
        settings.store.history_limit,
    )
    past = Past(data, turns=places(np.lexsort((data.turn, data.arrived_ms))))
    base = len(data) - len(events)
    users = data.users.encode([one.user_id for one in served])
    asked = np.array([base + one.arrived for one in served])
    requests = past.requests(users, asked, np.full(len(served), time.time() * 1000))
    # What this test is about is there.
    assert sum(len(rows) > settings.store.history_limit for rows in requests.rows) >= size.rounds
    new = data.items.encode(NEW_ITEMS)
    assert any(np.isin(data.item[rows], new).any() for rows in requests.rows)
    assert (np.diff(later["timestamp_ms"]) == 0).sum() > 0.25 * len(later)
    assert (np.diff([event.timestamp_ms for event in events]) < 0).sum() > 0.05 * len(events)

    candidates = find_candidates(stage, requests, facts.candidates, facts.trending, facts.more)
    sources = slice(facts.candidates + facts.trending, None)
    assert (candidates.items[:, sources] >= 0).mean() > 0.5
    best = rerank(stage, ranker, requests, candidates, TOP_K)
    blocks = request_features(stage, requests, candidates)
    features = [one for _, block, lengths in blocks for one in np.split(block, np.cumsum(lengths)[:-1])]
    ids = [str(item) for item in data.items.ids.tolist()]
    assert len(served) == size.rounds * ASKED
    # Serving leaves out what no tree reads. With so many trees that is little: what is the same for a whole list,
    # attributes, which were drawn by chance here, and some of what says nearly the same of a user's past.
    read = [*ranker.block_features, *(USER_FEATURES[column] for column in ranker.user_columns.tolist())]
    of_past = {*REPEAT_FEATURES, *HABIT_FEATURES}
    assert set(ranker.features) - set(read) < {*USER_FEATURES, *facts.attribute_features, *of_past}
    assert len(of_past & set(read)) >= 10
    # New items are candidates in serving alone; where there are some the list's standard scores are others.
    with_new = {number for number, one in enumerate(served) if set(one.candidates) & set(NEW_ITEMS)}
    assert 0 < len(with_new) < 0.3 * len(served), len(with_new)
    swapped: set[int] = set()  # whose scores by the factors are equal but for their last digit
    for number, one in enumerate(served):
        found = candidates.items[number]
        known = [item for item in one.candidates if item not in NEW_ITEMS]
        expected = [ids[item] for item in found[found >= 0]]
        assert sorted(expected) == sorted(known), one.user_id
        if expected != known:
            swapped.add(number)
        if number in with_new or number in swapped:
            continue
        of_user = np.repeat(one.of_user[None], len(one.block), axis=0)
        for name, theirs in zip(read, np.concatenate([one.block, of_user], axis=1).T, strict=True):
            mine = features[number][:, ranker.features.index(name)]
            np.testing.assert_allclose(mine, theirs, rtol=2e-4, atol=2e-5, err_msg=f"{name} of {one.user_id}")
    assert len(swapped) <= 0.01 * len(served)
    blocks = np.concatenate([one.block for one in served])
    told = dict(zip(ranker.block_features, blocks.T, strict=True))
    assert (~np.isnan(told["repeat_rhythm"])).sum() > 100
    assert all((~np.isnan(told[name])).mean() > 0.1 for name in facts.attribute_features if name in told), (
        "some attribute says nothing"
    )
    # Whoever has no history yet gets what is popular; all others are listed in the ranker's order.
    ranked = [number for number, one in enumerate(served) if one.candidates]
    assert len(ranked) > 0.95 * len(served)
    assert (told["live_cosine"] > 0).mean() > 0.1
    # Each list is the ranker's order of what serving saw. That differs from what training saw by rounding alone, which
    # may, rarely, lie on the other side of a threshold of one of 200 trees.
    compared = set(ranked) - with_new
    for number in compared:
        one = served[number]
        scores = ranker.score_lists(one.block, one.of_user[None], np.array([len(one.candidates)]))
        order = np.argsort(-scores, kind="stable")[:TOP_K]
        assert [one.candidates[place] for place in order] == one.listed, one.user_id
    same = [[ids[item] for item in best[number]] == served[number].listed for number in compared]
    assert sum(same) >= 0.98 * len(compared)


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch
