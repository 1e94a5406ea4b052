import math
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.items import trending
from features.items.catalogue import Item
from features.items.trending import read_trending
from features.recording import online_store as store_module
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from tests.features import oracle

pytestmark = pytest.mark.anyio
NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


def like(number: int, item: str, hours_ago: float, user: str = "") -> Event:
    return Event(f"e{number}", user or f"u{number}", item, "like", NOW_MS - int(hours_ago * HOUR_MS))


async def test_weights_halve_and_add_up_over_partitions(store: OnlineStore) -> None:
    events = [like(n, "old", 48) for n in range(8)] + [like(n, "new", 0) for n in range(10, 13)]
    await store.record_events(events)
    assert await read_trending(store.client, store.keys, 10, "1d") == [
        ("new", pytest.approx(3.0)),
        ("old", pytest.approx(2.0)),
    ]
    by_week = await read_trending(store.client, store.keys, 10, "7d")
    assert by_week[0] == ("old", pytest.approx(8 * 2 ** (-2 / 7)))
    assert await read_trending(store.client, store.keys, 1, "7d") == by_week[:1]


async def test_ties_go_by_item_id_and_very_old_events_keep_their_order(store: OnlineStore) -> None:
    ancient = 200 * 24 * 365
    await store.record_events(
        [like(1, "b", 0), like(2, "a", 0), like(3, "y", ancient / 10 + 1), like(4, "x", ancient / 10)]
    )
    found = await read_trending(store.client, store.keys, 10, "1h")
    assert [item for item, _ in found] == ["a", "b", "x", "y"]
    assert found[3][1] == 0.0


async def test_a_category_and_only_what_may_be_shown(store: OnlineStore) -> None:
    await store.record_events([like(n, item, 0) for n, item in enumerate("abcd")])
    items = {
        "a": Item("a", "A", categories=("War",)),
        "b": Item("b", "B", categories=("War",), hidden=True),
        "c": Item("c", "C", categories=("Drama",)),
    }
    found = await read_trending(store.client, store.keys, 10, "1d", "War", items)
    assert [item for item, _ in found] == ["a"]
    everything = await read_trending(store.client, store.keys, 10, "1d", None, items)
    assert [item for item, _ in everything] == ["a", "c", "d"]
    with pytest.raises(ValueError, match="catalogue"):
        await read_trending(store.client, store.keys, 10, "1d", "War")
    with pytest.raises(ValueError, match="window"):
        await read_trending(store.client, store.keys, 10, "2d")


async def test_an_empty_store_has_no_trend(store: OnlineStore) -> None:
    assert await read_trending(store.client, store.keys, 10, "1d") == []


async def test_a_robot_lifts_an_item_as_far_as_one_user(store: OnlineStore) -> None:
    """Regression: a user who liked an item two hundred times carried it past what fifty users liked."""
    await store.record_events([like(n, "good", 1, f"u{n}") for n in range(3)])
    kinds = ("view", "click", "like", "purchase")
    hours = np.random.default_rng(0).random(200) * 48
    robot = [like(100 + n, "pushed", float(hour), "robot") for n, hour in enumerate(hours)]
    robot = [replace(one, event_type=kinds[n % 4]) for n, one in enumerate(robot)]
    await store.record_events(robot)
    for window in ("1h", "1d", "7d"):
        found = dict(await read_trending(store.client, store.keys, 10, window))
        sent = [like(n, "good", 1, f"u{n}") for n in range(3)] + robot
        expected = oracle.trending(sent, store.event_types, window, store.limits.history_limit)
        assert found == pytest.approx(expected, rel=1e-9)
        assert found["pushed"] <= 1.0 < found["good"]


async def test_the_bounded_list_holds_exactly_the_strongest(
    store: OnlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An item that fell out comes back with its full weight when it rises again."""
    monkeypatch.setattr(store_module, "TRENDING_LIMIT", 20)
    from configs.settings import Store
    from features.redis.layout import keys_of

    limits = Store(partitions=4, timeout_s=10)
    small = OnlineStore(store.client, keys_of(limits), limits, store.event_types)
    first = [like(n, f"weak{n}", 30, "u") for n in range(3)]
    flood = [like(100 + n, f"strong{n}", 1, "u") for n in range(60)]
    await small.record_events([*first, *flood])
    partition = small.keys.partition_of("u")
    assert await small.client.run("ZCARD", small.keys.trending(partition, "1d")) <= 22
    assert await small.client.run("ZSCORE", small.keys.trending(partition, "1d"), "weak0") is None
    other = next(name for n in range(100) if small.keys.partition_of(name := f"u{n}") == partition)
    await small.record_events([like(999, "weak0", 0, other)])
    (top,) = await read_trending(small.client, small.keys, 1, "1d")
    assert top == ("weak0", pytest.approx(1 + 2 ** (-30 / 24)))


def merged_in_plain_words(heads: list[list[bytes]], at: float) -> list[tuple[bytes, float]]:
    weights: dict[bytes, float] = {}
    highest: dict[bytes, float] = {}
    for head in heads:
        for item_id, text in zip(head[::2], head[1::2], strict=True):
            score = float(text)
            weights[item_id] = weights.get(item_id, 0.0) + 2.0 ** (score - at)
            highest[item_id] = max(highest.get(item_id, score), score)
    scores: dict[bytes, list[float]] = {}
    for head in heads:
        for item_id, text in zip(head[::2], head[1::2], strict=True):
            scores.setdefault(item_id, []).append(float(text))
    strength = {
        one: highest[one] + math.log2(sum(2.0 ** (score - highest[one]) for score in mine))
        for one, mine in scores.items()
    }
    return [(one, weights[one]) for one in sorted(weights, key=lambda one: (-round(strength[one], 6), one))]


HEADS = st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-1100, 3), max_size=8), max_size=4)


@given(HEADS)
def test_partitions_are_merged_by_strength_then_id(heads: list[dict[str, int]]) -> None:
    flat = [[part for name, score in head.items() for part in (name.encode(), b"%d" % score)] for head in heads]
    found = trending._merge(flat, 3.0)
    assert list(zip(found.item_ids, found.weights.tolist(), strict=True)) == merged_in_plain_words(flat, 3.0)


def test_what_differs_in_the_last_digits_alone_goes_by_the_id() -> None:
    """Regression: it went by how the sums came to be, which training does in another order."""
    at = 244_444.0  # hours since 1970
    found = trending._merge([[b"b", b"%.17g" % (at + 6e-11), b"a", b"%.17g" % at, b"c", b"%.17g" % (at + 1e-5)]], at)
    assert found.item_ids == [b"c", b"a", b"b"]


def test_the_order_holds_where_the_weights_are_too_small_for_a_number() -> None:
    found = trending._merge([[b"a", b"-5001"], [b"a", b"-5001", b"b", b"-5000.5"]], 0.0)
    assert (found.item_ids, found.weights.tolist()) == ([b"a", b"b"], [0.0, 0.0])


async def test_the_merge_leaves_the_event_loop_free(store: OnlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    merge = trending._merge

    def noting(*given: Any) -> trending.Popularity:
        threads.append(threading.get_ident())
        return merge(*given)

    monkeypatch.setattr(trending, "_merge", noting)
    await store.record_events([like(1, "a", 0)])
    found = await trending.read_popularity(store.client, store.keys, ["1d", "7d"])
    assert [one.item_ids for one in found] == [[b"a"], [b"a"]]
    assert len(threads) == 2
    assert threading.get_ident() not in threads
