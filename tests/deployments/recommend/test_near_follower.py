"""Near counts follow the streams: each event once, whatever a compaction moves; and a new item enters lists by them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from configs.event_types import load_event_types
from configs.settings import Settings, Store
from data.event_log import EventLog
from deployments.http.schemas import RecommendRequest
from deployments.recommend.loaded_model import LoadedModel
from deployments.recommend.near.follower import NearFollower, follower_of
from deployments.recommend.ranking import Ranking
from deployments.recommend.retrieval import Retrieval
from features.items.catalogue import Item, put_items
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.redis.lock import maintenance
from features.serving.promotion import set_slot
from features.serving.slots import CHAMPION
from features.streams.drain import drain
from features.users.erasure import Erasures
from models.bundle.arrays import BundleContents
from models.bundle.manifest import ManifestFields, RankerFacts
from models.bundle.reading import load_bundle
from models.bundle.writing import write_bundle
from models.ranking.features import FEATURES, FEATURES_HASH
from models.ranking.item_table import ItemStatistics
from models.ranking.ranker import RankerParameters, fit_ranker
from models.ranking.ranking_parts import RankingParts
from models.relations.more_sources import MoreSources
from models.relations.near_counts import NearCounts
from models.relations.near_state import NearState
from tests.models.bundle.test_bundle import NOW_MS, contents, fields

pytestmark = pytest.mark.anyio
Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
N_ITEMS = 20
SECOND = 1000
PARAMETERS = RankerParameters(trees=30, leaves=4, smallest_leaf=5, feature_share=1.0)


def near_contents(state: NearState) -> tuple[BundleContents, ManifestFields]:
    """A model whose ranker has learned one thing: what is near comes first."""
    generator = np.random.default_rng(0)
    features = generator.random((4000, len(FEATURES))).astype(np.float32)
    cosine = FEATURES.index("live_cosine")
    features[:, cosine] = np.where(generator.random(4000) < 0.5, 0, features[:, cosine])
    gains = (features[:, cosine] > 0).astype(np.float32)
    ranker = fit_ranker(features, gains, np.full(400, 10), PARAMETERS, seed=0)
    unknown = np.full(N_ITEMS, np.nan, np.float32)
    statistics = ItemStatistics(np.ones(N_ITEMS, np.int64), unknown, unknown, unknown.astype(np.float64))
    ranking = RankingParts(ranker, statistics, None, near=state)
    facts = RankerFacts(
        features_hash=FEATURES_HASH,
        parameters=PARAMETERS,
        lists=400,
        candidates=3,
        trending=0,
        more=MoreSources(near=5),
    )
    return replace(contents(0), ranking=ranking), fields().model_copy(update={"ranker": facts})


@pytest.fixture
def settings(tmp_path: Path, store_settings: Store) -> Settings:
    serving = {"deadline_s": 20, "watch_s": 0.02, "trending_s": 0.02, "candidates": 3, "cache_size": 0}
    return Settings(state_dir=tmp_path, store=store_settings.model_dump(), serving=serving)


@pytest.fixture
def loaded(settings: Settings) -> LoadedModel:
    state = NearState.of(NearCounts(N_ITEMS, 1), {})
    bundle = load_bundle(write_bundle(settings.bundles_dir, *near_contents(state), NOW_MS))
    return LoadedModel(bundle, 0.5, [])


@pytest.fixture
async def follow(settings: Settings, keys: Keys, loaded: LoadedModel) -> AsyncIterator[Callable[[], NearFollower]]:
    made: list[NearFollower] = []

    def make() -> NearFollower:
        types = load_event_types(settings.data.events)
        follower = follower_of(settings, keys, loaded, types, Erasures({}))
        assert follower is not None
        made.append(follower)
        return follower

    yield make
    for one in made:
        await one.stop()


def events(first: int, last: int, context: dict[str, Any] | None = None) -> list[Event]:
    """Seven users; what each takes up goes up by one every second."""
    numbers = range(first, last)
    return [
        Event(f"e{n}", f"u{n % 7}", f"item {n % N_ITEMS}", "like", NOW_MS + n * SECOND, context=context)
        for n in numbers
    ]


def expected(*parts: list[Event]) -> dict[tuple[int, int], int]:
    counts = NearCounts(N_ITEMS, 7)
    for event in (event for part in parts for event in part):
        user, item = int(event.user_id[1:]), int(event.item_id[5:])
        counts.take(np.array([user]), np.array([item]), np.array([event.timestamp_ms]))
    return pairs(counts)


def pairs(counts: NearCounts) -> dict[tuple[int, int], int]:
    return {(row, other): count for row in range(counts.n_items) for other, count in counts.row(row).items()}


async def compact(client: StoreClient, keys: Keys, log: EventLog) -> None:
    async with maintenance(client, keys, "test") as lock:
        await drain(client, keys, log, lock, chunk_rows=20)


@pytest.fixture
async def store(settings: Settings, client: StoreClient, keys: Keys) -> OnlineStore:
    return OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))


async def test_each_event_counts_once_while_compactions_take_the_streams(
    settings: Settings,
    store: OnlineStore,
    keys: Keys,
    loaded: LoadedModel,
    follow: Callable[[], NearFollower],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("deployments.recommend.near.follower.PAGE", 7)
    monkeypatch.setattr("deployments.recommend.near.follower.PARTS", 1)
    log, follower = EventLog(settings.log_dir), follow()
    await store.record_events(events(0, 100))
    await follower.look()  # some of it
    assert 0 < follower.counted < 100
    await compact(store.client, keys, log)
    await store.record_events(events(100, 150))
    await store.record_events(events(0, 50))  # a retry: the store knows these
    await store.record_events(events(150, 170, {"simulated": True}))
    for _ in range(60):
        await follower.look()
    await compact(store.client, keys, log)
    await store.record_events(events(170, 180))
    for _ in range(60):
        await follower.look()
    assert follower.counted == 160
    assert loaded.near is not None
    assert pairs(loaded.near.counts) == expected(events(0, 150), events(170, 180))


async def test_a_replica_goes_on_where_the_training_ended(
    settings: Settings, store: OnlineStore, keys: Keys, client: StoreClient
) -> None:
    log = EventLog(settings.log_dir)
    await store.record_events(events(0, 60))
    await compact(client, keys, log)
    read = {part.partition: part.last for part in log.parts("events")}
    counts = NearCounts(N_ITEMS, 7)
    for event in events(0, 60):
        user, item = int(event.user_id[1:]), int(event.item_id[5:])
        counts.take(np.array([user]), np.array([item]), np.array([event.timestamp_ms]))
    made, facts = near_contents(NearState.of(counts, read))
    user_ids = np.array([f"u{n}" for n in range(len(made.user_ids))], object)
    bundle = load_bundle(write_bundle(settings.bundles_dir, replace(made, user_ids=user_ids), facts, NOW_MS))
    await store.record_events(events(60, 90))
    await compact(client, keys, log)
    await store.record_events(events(90, 100))
    loaded = LoadedModel(bundle, 0.5, [])
    follower = follower_of(settings, keys, loaded, load_event_types(settings.data.events), Erasures({}))
    assert follower is not None
    try:
        await follower.start(10.0)
        assert follower.problem is None
        assert follower.counted == 40
        assert loaded.near is not None
        assert pairs(loaded.near.counts) == expected(events(0, 100))
    finally:
        await follower.stop()


async def test_a_new_item_enters_the_lists_of_others_by_its_first_events(
    settings: Settings, store: OnlineStore, client: StoreClient, keys: Keys, until: Until
) -> None:
    bundle = write_bundle(settings.bundles_dir, *near_contents(NearState.of(NearCounts(N_ITEMS, 1), {})), NOW_MS)
    await set_slot(client, keys, CHAMPION, bundle.name, str(bundle), "a test")
    retrieval = Retrieval(CHAMPION, settings)
    ranking = Ranking(settings, {CHAMPION: retrieval.retrieve})
    await retrieval.start()
    await ranking.start()

    async def listed(user_id: str) -> list[tuple[str, str]]:
        answer = orjson.loads(await ranking.recommend(RecommendRequest(user_id=user_id, top_k=5)))
        return [(str(one["item_id"]), str(one["source"])) for one in answer["recommendations"]]

    try:
        await store.record_events([Event("a", "ada", "item 3", "like", NOW_MS)])
        assert "near" not in {source for _, source in await listed("ada")}
        # Before the catalogue has it, and after.
        await store.record_events(
            [Event("b", "bob", "item 3", "like", NOW_MS), Event("c", "bob", "premiere", "view", NOW_MS + SECOND)]
        )
        await put_items(client, keys, [Item("premiere", "Premiere")])

        async def found() -> bool:
            return (await listed("ada"))[0] == ("premiere", "near")

        await until(found)
        await store.record_events([Event("d", "eve", "premiere", "view", NOW_MS)])

        async def led_back() -> bool:
            return ("item 3", "near") in await listed("eve")

        await store.record_events([Event("e", "eve", "item 5", "like", NOW_MS + 40 * 60 * SECOND)])
        await until(led_back)
    finally:
        await ranking.stop()
        await retrieval.stop()


async def test_a_follower_tries_on_while_the_log_cannot_be_read(
    settings: Settings,
    store: OnlineStore,
    keys: Keys,
    loaded: LoadedModel,
    until: Until,
    follow: Callable[[], NearFollower],
) -> None:
    log, follower = EventLog(settings.log_dir), follow()
    await store.record_events(events(0, 20))
    await compact(store.client, keys, log)
    stranger = settings.log_dir / "events" / "stranger.parquet"
    stranger.write_bytes(b"")
    await follower.start(10.0)
    assert follower.problem is not None
    assert "stranger.parquet" in follower.problem
    stranger.unlink()

    async def counted() -> bool:
        return follower.problem is None and follower.counted == 20

    await until(counted)
    assert loaded.near is not None
    assert pairs(loaded.near.counts) == expected(events(0, 20))
