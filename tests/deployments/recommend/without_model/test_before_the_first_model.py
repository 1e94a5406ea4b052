"""Before the first training has ended, lists hold what is popular, and follow the user's events all the same."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from configs.event_types import load_event_types
from configs.settings import Settings, Store
from deployments.http.schemas import RecommendRequest
from deployments.recommend.ranking import Ranking
from deployments.recommend.retrieval import Retrieval
from features.items.catalogue import Item, put_items
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.slots import CHAMPION

pytestmark = pytest.mark.anyio
NOW_MS = 1_790_000_000_000


@pytest.fixture
async def ranking(tmp_path: Path, store_settings: Store, client: StoreClient, keys: Keys) -> AsyncIterator[Ranking]:
    """Six items; of them i1 is liked by three, i2 by two, i3 by one, and the newest is i6."""
    settings = Settings(state_dir=tmp_path, store=store_settings.model_dump(), serving={"deadline_s": 20})
    items = [Item(f"i{n}", f"Item {n}", categories=("odd" if n % 2 else "even",), created_ms=n) for n in range(1, 7)]
    await put_items(client, keys, items)
    store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))
    likes = [("ann", "i1"), ("bob", "i1"), ("cyd", "i1"), ("ann", "i2"), ("bob", "i2"), ("ann", "i3")]
    events = [Event(f"e{n}", user, item, "like", NOW_MS) for n, (user, item) in enumerate(likes)]
    await store.record_events([*events, Event("no", "dan", "i1", "dislike", NOW_MS)])
    retrieval = Retrieval(CHAMPION, settings)
    found = Ranking(settings, {CHAMPION: retrieval.retrieve})
    await retrieval.start()
    await found.start()
    yield found
    await found.stop()
    await retrieval.stop()


async def ask(ranking: Ranking, **request: Any) -> tuple[list[str], dict[str, Any]]:
    answer: dict[str, Any] = orjson.loads(await ranking.recommend(RecommendRequest(**request)))
    return [shown["item_id"] for shown in answer["recommendations"]], answer


async def test_what_is_popular_answers_then_what_is_new(ranking: Ranking) -> None:
    items, answer = await ask(ranking, user_id="new")
    assert items == ["i1", "i2", "i3", "i6", "i5", "i4"]
    assert [shown["source"] for shown in answer["recommendations"]] == ["trending"] * 3 + ["newest"] * 3
    assert (answer["model_version"], answer["cold_start"], answer["degraded"]) == ("none", True, False)
    assert answer["recommendations"][0]["title"] == "Item 1"
    assert answer["recommendation_id"]


@pytest.mark.parametrize(("window", "first"), [("1h", "new"), ("7d", "old")])
async def test_what_is_trending_decays_by_the_window_of_the_settings(
    tmp_path: Path, store_settings: Store, client: StoreClient, keys: Keys, window: str, first: str
) -> None:
    serving = {"deadline_s": 20, "trending_window": window}
    settings = Settings(state_dir=tmp_path, store=store_settings.model_dump(), serving=serving)
    await put_items(client, keys, [Item("old", "Old"), Item("new", "New")])
    store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))
    before_ms = NOW_MS - 3 * 86_400_000
    events = [Event(f"o{n}", f"u{n}", "old", "like", before_ms) for n in range(5)]
    await store.record_events([*events, *(Event(f"n{n}", f"u{n}", "new", "like", NOW_MS) for n in range(2))])
    retrieval = Retrieval(CHAMPION, settings)
    found = Ranking(settings, {CHAMPION: retrieval.retrieve})
    await retrieval.start()
    await found.start()
    try:
        assert (await ask(found, user_id="nobody"))[0][0] == first
    finally:
        await found.stop()
        await retrieval.stop()


async def test_what_was_seen_refused_or_filtered_stays_away(ranking: Ranking) -> None:
    assert (await ask(ranking, user_id="ann"))[0] == ["i6", "i5", "i4"]
    assert (await ask(ranking, user_id="ann", exclude_seen=False, top_k=2))[0] == ["i1", "i2"]
    assert (await ask(ranking, user_id="dan", exclude_seen=False, top_k=2))[0] == ["i2", "i3"]
    filters = {"include_categories": ["odd"], "exclude_items": ["i1"]}
    assert (await ask(ranking, user_id="new", filters=filters))[0] == ["i3", "i5"]
