"""An item's live counts, summed over the partitions."""

import pytest

from features.items.item_features import ItemFeatures, read_item_features
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore

pytestmark = pytest.mark.anyio
NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


async def test_counts_and_popularity_are_those_of_all_users(store: OnlineStore) -> None:
    await store.record_events(
        [Event(f"l{n}", f"u{n}", "a", "like", NOW_MS - HOUR_MS) for n in range(8)]
        + [Event("v", "u1", "a", "view", NOW_MS), Event("d", "u9", "a", "dislike", NOW_MS - 2 * HOUR_MS)]
        + [Event("b", "u1", "b", "like", NOW_MS)]
    )
    await store.log_exposures([Exposure(f"r{n}", f"u{n}", NOW_MS, "v1", "champion", None, ("a", "b")) for n in (1, 2)])
    found = await read_item_features(store.client, store.keys, store.event_types, "a", NOW_MS)
    assert found.events == {"like": 8, "view": 1, "dislike": 1}
    assert found.exposures == 2
    assert found.popularity["1h"] == pytest.approx(8 * 0.5)  # the view of a user whose like weighs more adds nothing
    assert (found.first_ms, found.last_ms) == (NOW_MS - 2 * HOUR_MS, NOW_MS)


async def test_an_item_without_events(store: OnlineStore) -> None:
    found = await read_item_features(store.client, store.keys, store.event_types, "none", NOW_MS)
    assert found == ItemFeatures({}, 0, {"1h": 0.0, "1d": 0.0, "7d": 0.0}, None, None)
