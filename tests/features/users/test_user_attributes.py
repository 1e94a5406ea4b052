import pytest

from configs.settings import Store
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.users.user_attributes import (
    count_users,
    index_users,
    list_users,
    put_user_attributes,
    read_user_attributes,
)

pytestmark = pytest.mark.anyio
NOW_MS = 1_790_000_000_000


async def listed(store: OnlineStore, limit: int, prefix: str = "") -> list[str]:
    """All users, page by page."""
    found: list[str] = []
    last: str | None = None
    while True:
        page = await list_users(store.client, store.keys, store.event_types, limit, last, prefix)
        found += [user.user_id for user in page.users]
        last = page.last_id
        if last is None:
            return found


async def test_pages_hold_all_users_in_the_order_of_their_bytes(store: OnlineStore) -> None:
    ids = ["a", "A", "é", "a}:u:b", "10", "9", "\N{PARTY POPPER}", *(f"u{n:03}" for n in range(40))]
    await store.record_events([Event(f"e{n}", user, "i", "like", NOW_MS + n) for n, user in enumerate(ids)])
    await store.record_events([Event(f"f{n}", user, "i", "like", NOW_MS + n) for n, user in enumerate(ids)])
    await put_user_attributes(store.client, store.keys, {"described": {"age": 3}, "a": {}})
    expected = sorted([*ids, "described"], key=str.encode)
    assert await listed(store, 7) == await listed(store, 100) == expected
    assert await listed(store, 3, prefix="u01") == [f"u{n:03}" for n in range(10, 20)]
    page = await list_users(store.client, store.keys, store.event_types, 1, None, "u01")
    assert (page.total, page.users[0].events, page.users[0].last_ms) == (10, 2, NOW_MS + ids.index("u010"))
    assert await count_users(store.client, store.keys) == len(expected)


async def test_a_page_costs_the_same_however_many_users_there_are(valkey_store: OnlineStore) -> None:
    store = valkey_store
    costs = []
    for users in (50, 2000):
        await put_user_attributes(store.client, store.keys, {f"u{n:05}": {"n": n} for n in range(users)})
        await store.client.run("CONFIG", "RESETSTAT")
        await list_users(store.client, store.keys, store.event_types, 20, "u00010")
        stats = await store.client.raw.info("commandstats")
        costs.append({name: one["calls"] for name, one in stats.items() if "config" not in name and "info" not in name})
    assert costs[0] == costs[1]
    assert costs[0]["cmdstat_zrangebylex"] == store.keys.partitions


async def test_an_id_whose_user_has_expired_is_passed_over_and_forgotten(valkey_store: OnlineStore) -> None:
    store = valkey_store
    await store.record_events([Event(f"e{n}", f"u{n}", "i", "like", NOW_MS) for n in range(3)])
    await store.client.run("DEL", store.keys.user("u1"))
    page = await list_users(store.client, store.keys, store.event_types, 10)
    assert ([user.user_id for user in page.users], page.total) == (["u0", "u2"], 2)
    assert await count_users(store.client, store.keys) == 2


async def test_attributes_expire_with_their_idle_user(valkey_store: OnlineStore, limits: Store) -> None:
    idle = limits.model_copy(update={"idle_user_days": 1})
    store = OnlineStore(valkey_store.client, valkey_store.keys, idle, valkey_store.event_types)
    client, keys = store.client, store.keys
    await put_user_attributes(client, keys, {"u": {"age": 3}, "never seen": {"age": 4}})
    await store.record_events([Event("e", "u", "i", "like", NOW_MS)])
    await put_user_attributes(client, keys, {"u": {"age": 5}})
    left_s = await client.run("TTL", keys.user_attributes("u"))
    assert 86_000 < left_s <= 86_400
    assert await client.run("TTL", keys.user_attributes("never seen")) == -1


async def test_what_somebody_said_is_not_seeded_over(valkey_store: OnlineStore) -> None:
    client, keys = valkey_store.client, valkey_store.keys
    await put_user_attributes(client, keys, {"u": {"age": 3}, "v": {}})
    await put_user_attributes(client, keys, {"u": {"age": 4}, "v": {"age": 4}, "w": {"age": 4}}, only_new=True)
    found = [await read_user_attributes(client, keys, user) for user in ("u", "v", "w", "x")]
    assert found == [{"age": 3}, {}, {"age": 4}, None]


async def test_users_of_an_earlier_version_are_indexed_once(store: OnlineStore) -> None:
    await store.record_events([Event(f"e{n}", f"u{n}", "i", "like", NOW_MS) for n in range(12)])
    await store.client.read([("DEL", store.keys.users(partition)) for partition in range(store.keys.partitions)])
    await index_users(store.client, store.keys)
    assert await listed(store, 5) == sorted(f"u{n}" for n in range(12))
    await store.client.run("ZREM", store.keys.users(store.keys.partition_of("u3")), "u3")
    await index_users(store.client, store.keys)
    assert "u3" not in await listed(store, 5)
