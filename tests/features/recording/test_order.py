"""What does not depend on the order in which events arrive, how often they are repeated or how late they come."""

import asyncio
import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.event_types import load_event_types
from configs.settings import Store
from features.items.trending import read_trending
from features.recording.event import Event
from features.recording.online_store import WINDOWS, OnlineStore
from features.redis.connection import connect
from features.redis.layout import keys_of
from tests.features import oracle, reading

LIMITS = Store(partitions=2, history_limit=6, seen_limit=40, timeout_s=10)
START_MS = 1_780_000_000_000
_run = itertools.count()

drafts = st.builds(
    Event,
    event_id=st.sampled_from([f"e{number}" for number in range(12)]),
    user_id=st.sampled_from(["u", "v"]),
    item_id=st.sampled_from(["a", "ab", "b", "Ä", "10", "9"]),
    event_type=st.just("like"),
    timestamp_ms=st.integers(0, 10).map(lambda n: START_MS + n * 7_000_000) | st.integers(0, START_MS * 2),
    categories=st.sampled_from([(), ("Drama",), ("Drama", "War")]),
)


@st.composite
def arrivals(draw: st.DrawFn) -> list[list[Event]]:
    """Batches in which distinct events and repeats of them arrive, in any order."""
    drafted = draw(st.lists(drafts, min_size=1, max_size=25))
    kinds = st.sampled_from([("like", None), ("dislike", None), ("click", None), ("view", None), ("rating", 4.0)]) | (
        st.floats(0.5, 5.0, width=32).map(lambda value: ("rating", value))
        | st.floats(0.0, 2000.0, width=32).map(lambda value: ("watch", value))
    )
    drawn = [draw(kinds) for _ in drafted]
    sent = [replace(one, event_type=kind, value=value) for one, (kind, value) in zip(drafted, drawn, strict=True)]
    distinct = oracle.distinct(sent)
    arrival = draw(st.permutations([*distinct, *draw(st.lists(st.sampled_from(distinct), max_size=8))]))
    size = draw(st.integers(1, 7))
    return [arrival[start : start + size] for start in range(0, len(arrival), size)]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batches=arrivals())
def test_any_order_with_repeats_gives_the_features_of_the_sorted_distinct_events(
    url: str, batches: list[list[Event]]
) -> None:
    asyncio.run(_check(url, batches))


async def _check(url: str, batches: list[list[Event]]) -> None:
    # A prefix of its own for each example: quicker than emptying a server that syncs every write
    limits = LIMITS.model_copy(update={"prefix": f"run{next(_run)}"})
    store = OnlineStore(connect(limits, url), keys_of(limits), limits, load_event_types())
    try:
        for batch in batches:
            await store.record_events(batch)
        distinct = oracle.distinct([event for batch in batches for event in batch])
        for user_id in {event.user_id for event in distinct}:
            mine = [event for event in distinct if event.user_id == user_id]
            found = await reading.user_features(store, user_id)
            expected = oracle.user_features(mine, store.event_types, limits)
            for name in ("history", "older_seen", "counters", "first_ms", "last_ms"):
                assert found[name] == expected[name], name
            assert found["activity"] == pytest.approx(expected["activity"], rel=1e-9)
            assert found["affinities"] == pytest.approx(expected["affinities"], rel=1e-9, abs=1e-12)
        for window in WINDOWS:
            found_weights = dict(await read_trending(store.client, store.keys, 100, window))
            expected_weights = oracle.trending(distinct, store.event_types, window, limits.history_limit)
            assert found_weights == pytest.approx(expected_weights, rel=1e-9, abs=1e-300)
    finally:
        await store.client.aclose()


@pytest.mark.anyio
async def test_fifty_years_late_is_still_in_its_place(store: OnlineStore) -> None:
    late = Event("late", "u", "old", "like", 0)
    await store.record_events([Event("now", "u", "new", "like", START_MS), late])
    found = await reading.user_features(store, "u")
    assert [item for _, item, *_ in found["history"]] == [b"old", b"new"]
    assert found["activity"] == [1.0, 1.0, 1.0]


@pytest.mark.anyio
async def test_concurrent_writers_lose_nothing(store: OnlineStore) -> None:
    sent = [Event(f"e{n}", f"u{n % 3}", f"i{n % 11}", "like", START_MS + n * 997) for n in range(300)]
    await asyncio.gather(*(store.record_events(sent[start::15]) for start in range(15)))
    for user_id in ("u0", "u1", "u2"):
        mine = [event for event in sent if event.user_id == user_id]
        found = await reading.user_features(store, user_id)
        expected = oracle.user_features(mine, store.event_types, Store(history_limit=50, seen_limit=20))
        assert found["counters"] == {"like": 100}
        assert found["history"] == expected["history"]
        assert found["activity"] == pytest.approx(expected["activity"], rel=1e-9)
