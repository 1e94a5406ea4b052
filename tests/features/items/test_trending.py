import pytest

from features.items.catalogue import Item
from features.items.trending import read_trending
from features.recording import online_store as store_module
from features.recording.event import Event
from features.recording.online_store import OnlineStore

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


async def test_the_bounded_list_holds_exactly_the_strongest(
    store: OnlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An item that fell out comes back with its full weight when it rises again."""
    monkeypatch.setattr(store_module, "TRENDING_LIMIT", 20)
    from configs.settings import Store
    from features.redis.layout import keys_of

    limits = Store(partitions=4)
    small = OnlineStore(store.client, keys_of(limits), limits, store.event_types)
    first = [like(n, f"weak{n}", 30, "u") for n in range(3)]
    flood = [like(100 + n, f"strong{n}", 1, "u") for n in range(60)]
    await small.record_events([*first, *flood])
    partition = small.keys.partition_of("u")
    assert await small.client.run("ZCARD", small.keys.trending(partition, "1d")) <= 22
    assert await small.client.run("ZSCORE", small.keys.trending(partition, "1d"), "weak0") is None
    await small.record_events([like(999, "weak0", 0, "u")])
    (top,) = await read_trending(small.client, small.keys, 1, "1d")
    assert top == ("weak0", pytest.approx(1 + 2 ** (-30 / 24)))
