"""A preview is the list that the user would get, and leaves no trace."""

import pytest

from configs import clock
from configs.event_types import load_event_types
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from tests.deployments.recommend.conftest import Functions

pytestmark = pytest.mark.anyio


async def test_a_preview_is_neither_logged_nor_counted(functions: Functions, client: StoreClient, keys: Keys) -> None:
    settings, ranking = functions.settings, functions.ranking
    store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))
    now_ms = clock.now_ms()
    await store.record_events([Event("e1", "ada", "item 3", "view", now_ms, None, now_ms)])

    async def exposures() -> int:
        return sum([await client.run("XLEN", keys.exposures(one)) for one in range(keys.partitions)])

    look = await functions.recommend(user_id="ada", preview=True)
    again = await functions.recommend(user_id="ada", preview=True)
    assert look["recommendation_id"] is None
    assert (again["cache_hit"], look["degraded"]) == (True, False)
    assert await exposures() == 0
    assert [sum(ranking.metrics.stage(name).counts) for name in ("total", "exposure")] == [0, 0]
    for name in ("cache_hits", "fold_ins", "cold_starts", "degraded", "exposures_lost"):
        assert ranking.metrics.counts[name] == 0, name
    shown = await functions.recommend(user_id="ada")
    assert shown["recommendations"] == look["recommendations"]
    assert shown["recommendation_id"]
    assert await exposures() == 1
    assert ranking.metrics.counts["cache_hits"] == sum(ranking.metrics.stage("total").counts) == 1
