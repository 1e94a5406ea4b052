import asyncio
import math
import time
from hashlib import blake2b
from typing import Any

import pytest

from configs.settings import Store
from features.recording.event import Event, EventResult
from features.recording.exposure import Exposure
from features.recording.online_store import LEDGER_LIMIT, OnlineStore
from features.redis.errors import EventConflict, LayoutError, StoreUnavailable
from features.redis.layout import keys_of
from features.users.history import decode_history
from tests.features import oracle, reading

pytestmark = pytest.mark.anyio
NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000


def event(number: int, user: str = "196", kind: str = "like", value: float | None = None, **fields: object) -> Event:
    given = {"item_id": f"i{number}", "timestamp_ms": NOW_MS + number * 1000, "categories": ("Drama", "War")}
    return Event(f"e{number}", user, event_type=kind, value=value, **{**given, **fields})  # type: ignore[arg-type]


async def test_an_event_is_in_every_feature_when_it_is_acknowledged(store: OnlineStore) -> None:
    first = event(1, kind="rating", value=4.0)
    (result,) = await store.record_events([first])
    assert not result.duplicate
    assert set(result.actions) == {
        "logged",
        "history_updated",
        "profile_updated",
        "item_updated",
        "trending_updated",
        "marked_seen",
    }
    (user,) = await store.read_users(["196"])
    assert user.version == result.user_version > 0
    assert user.processed_ms == result.processed_ms
    found = await reading.user_features(store, "196")
    expected = oracle.user_features([first], store.event_types, Store())
    assert found == expected
    partition = store.keys.partition_of("196")
    ((entry_id, fields),) = await store.client.run("XRANGE", store.keys.events(partition), "-", "+")
    assert entry_id.decode() == result.stream_id
    assert fields[b"e"].startswith(b'{"user_id":"196","event_id":"e1"')


async def test_users_are_read_in_order_and_an_unknown_one_is_empty(store: OnlineStore) -> None:
    users = [f"u{number}" for number in range(20)]
    await store.record_events([event(number, user=user) for number, user in enumerate(users)])
    found = await store.read_users(["nobody", *reversed(users)])
    assert (found[0].version, found[0].history, found[0].older_seen, found[0].fields) == (0, None, None, {})
    assert [decode_history(user.history).item_ids for user in found[1:]] == [
        [f"i{n}".encode()] for n in range(19, -1, -1)
    ]
    assert await store.read_users([]) == []


async def test_a_retry_gets_the_same_answer_and_changes_nothing(store: OnlineStore) -> None:
    events = [event(number) for number in range(3)]
    first = await store.record_events(events)
    before = await reading.everything(store)
    again = await store.record_events(events)
    assert [result.duplicate for result in again] == [True] * 3
    for one, two in zip(first, again, strict=True):
        assert (one.stream_id, one.processed_ms, one.user_version, one.actions) == (
            two.stream_id,
            two.processed_ms,
            two.user_version,
            two.actions,
        )
    assert await reading.everything(store) == before
    assert await store.client.run("XLEN", store.keys.events(store.keys.partition_of("196"))) == 3


async def test_a_retry_within_one_batch_counts_once(store: OnlineStore) -> None:
    results = await store.record_events([event(1), event(1)])
    assert [result.duplicate for result in results] == [False, True]
    assert (await reading.user_features(store, "196"))["counters"] == {"like": 1}


async def test_an_event_id_belongs_to_its_user(store: OnlineStore) -> None:
    results = await store.record_events([event(1, user="a"), event(1, user="b")])
    assert [result.duplicate for result in results] == [False, False]


@pytest.mark.parametrize("other", [{"item_id": "i2"}, {"kind": "purchase"}, {"kind": "rating", "value": 4.0}])
async def test_an_id_that_names_another_event_is_a_conflict_and_changes_nothing(
    store: OnlineStore, other: dict[str, Any]
) -> None:
    """It was taken for a retry: the other event was acknowledged, and was nowhere."""
    await store.record_events([event(1)])
    before = await reading.everything(store)
    results = await store.record_events([event(1, **other), event(1), event(1, timestamp_ms=NOW_MS)])
    assert isinstance(results[0], EventConflict)
    assert [result.duplicate for result in results[1:]] == [True, True]
    assert [type(result) for result in await store.record_events([event(1, **other)])] == [EventConflict]
    assert await reading.everything(store) == before


async def test_a_value_that_differs_is_another_event(store: OnlineStore) -> None:
    ratings = [event(1, kind="rating", value=value) for value in (4.0, 5.0, 4.0)]
    results = await store.record_events(ratings)
    assert [type(result) for result in results] == [EventResult, EventConflict, EventResult]
    assert (await reading.user_features(store, "196"))["counters"] == {"rating": 1}


async def test_ledgers_of_earlier_versions_know_their_events(store: OnlineStore) -> None:
    """Their entries hold 8 bytes of the id's digest and nothing of the content."""
    (first,) = await store.record_events([event(1)])
    ledger = await store.client.run("GET", store.keys.ledger("196"))
    earlier = blake2b(b"e1", digest_size=8).digest() + ledger[8:]
    assert earlier != ledger
    await store.client.run("SET", store.keys.ledger("196"), earlier)
    (again,) = await store.record_events([event(1)])
    assert (again.duplicate, again.stream_id) == (True, first.stream_id)


async def test_many_tries_at_once_count_once(store: OnlineStore) -> None:
    results = await asyncio.gather(*(store.record_events([event(1)]) for _ in range(20)))
    assert sum(not result.duplicate for (result,) in results) == 1
    assert len({result.stream_id for (result,) in results}) == 1


async def test_after_the_window_an_id_is_a_new_event(valkey_url: str) -> None:
    from tests.features.conftest import open_store

    store = await open_store(valkey_url, Store(dedupe_window_s=1))
    await store.record_events([event(1), event(2)])
    assert (await store.record_events([event(1)]))[0].duplicate
    deadline = time.monotonic() + 20
    while (await store.record_events([event(1)]))[0].duplicate:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert (await store.record_events([event(1)]))[0].duplicate
    assert (await reading.user_features(store, "196"))["counters"] == {"like": 3}
    # What is older than the window is gone: the ledger holds one entry
    assert await store.client.run("STRLEN", store.keys.ledger("196")) == 27
    await store.client.aclose()


async def test_the_ledger_of_a_busy_user_is_bounded_and_still_knows_the_latest(valkey_store: OnlineStore) -> None:
    batch = 1000
    for start in range(0, LEDGER_LIMIT + 2 * batch, batch):
        await valkey_store.record_events([event(number) for number in range(start, start + batch)])
    length = await valkey_store.client.run("STRLEN", valkey_store.keys.ledger("196"))
    assert LEDGER_LIMIT * 7 / 8 - 1 <= length / 27 <= LEDGER_LIMIT
    (latest,) = await valkey_store.record_events([event(LEDGER_LIMIT + 1000)])
    assert latest.duplicate


async def test_history_is_bounded_and_what_leaves_it_stays_seen(store: OnlineStore, limits: Store) -> None:
    kinds = ["like" if number % 2 else "click" for number in range(60)]
    events = [event(number, kind=kind) for number, kind in enumerate(kinds)]
    for start in range(0, 60, 7):
        await store.record_events(events[start : start + 7])
    found = await reading.user_features(store, "196")
    assert found["history"] == oracle.user_features(events, store.event_types, limits)["history"]
    assert len(found["history"]) == limits.history_limit
    assert found["older_seen"] == {f"i{number}" for number in (1, 3, 5, 7, 9)}  # clicks do not count as seen


async def test_older_seen_is_bounded(store: OnlineStore, limits: Store) -> None:
    total = limits.history_limit + limits.seen_limit + 7
    await store.record_events([event(number) for number in range(total)])
    found = await reading.user_features(store, "196")
    assert found["older_seen"] == {f"i{number}" for number in range(7, 7 + limits.seen_limit)}


async def test_the_version_grows_and_is_never_reused(store: OnlineStore) -> None:
    versions = [result.user_version for result in await store.record_events([event(n) for n in range(5)])]
    assert versions == list(range(versions[0], versions[0] + 5))
    await store.client.run("UNLINK", store.keys.user("196"), store.keys.history("196"))
    (result,) = await store.record_events([event(99)])
    assert result.user_version not in versions


async def test_a_refusal_lowers_the_affinity_and_gives_no_popularity(store: OnlineStore) -> None:
    (result,) = await store.record_events([event(1, kind="rating", value=1.0)])
    assert "trending_updated" not in result.actions
    found = await reading.user_features(store, "196")
    assert found["affinities"] == {"Drama": -0.5, "War": -0.5}
    partition = store.keys.partition_of("196")
    assert await store.client.run("ZCARD", store.keys.trending(partition, "1h")) == 0


async def test_decayed_activity_halves_with_its_half_life(store: OnlineStore) -> None:
    await store.record_events([event(1, timestamp_ms=NOW_MS), event(2, timestamp_ms=NOW_MS + DAY_MS)])
    (user,) = await store.read_users(["196"])
    activity = user.activity(NOW_MS + DAY_MS)
    assert activity["1d"] == pytest.approx(1.5, rel=1e-12)
    assert activity["7d"] == pytest.approx(1 + 2 ** (-1 / 7), rel=1e-12)
    assert user.activity(NOW_MS + 2 * DAY_MS)["1d"] == pytest.approx(0.75, rel=1e-12)


async def test_the_weakest_categories_leave_and_the_hash_stays_compact(valkey_store: OnlineStore) -> None:
    store = valkey_store
    events = [event(n, categories=(f"category {n:02d} of a long name",)) for n in range(60)]
    await store.record_events([*events, event(60, categories=("category 03 of a long name",))])
    found = await reading.user_features(store, "196")
    assert set(found["affinities"]) == {f"category {n:02d} of a long name" for n in range(13, 60)} | {
        "category 03 of a long name"
    }
    assert await store.client.run("OBJECT", "ENCODING", store.keys.user("196")) == b"listpack"


async def test_exposures_are_logged_once_and_count_their_items(store: OnlineStore) -> None:
    shown = Exposure("r1", "196", NOW_MS, "v1", "a", None, ("i1", "i2"), (0.9, 0.1), (3.0, 2.0), {"device": "tv"})
    await store.log_exposures([shown])
    await store.log_exposures([shown])  # a retry after a lost connection
    await store.log_exposures([Exposure("r2", "196", NOW_MS, "v1", "a", None, ("i1",))])
    partition = store.keys.partition_of("196")
    assert await store.client.run("XLEN", store.keys.exposures(partition)) == 2
    assert await store.client.run("HGET", store.keys.item(partition, "i1"), "exposures") == b"2"
    assert await store.client.run("HGET", store.keys.item(partition, "i2"), "exposures") == b"1"
    assert (await store.read_users(["196"]))[0].version == 0  # being shown a list makes nobody known


async def test_idle_users_expire_and_active_ones_do_not(valkey_url: str) -> None:
    from tests.features.conftest import open_store

    store = await open_store(valkey_url, Store(idle_user_days=2))
    await store.record_events([event(1)])
    for key in (store.keys.user("196"), store.keys.history("196")):
        assert 2 * 86_400 - 5 <= await store.client.run("TTL", key) <= 2 * 86_400
    await store.client.run("EXPIRE", store.keys.user("196"), 10)
    await store.record_events([event(2)])
    assert await store.client.run("TTL", store.keys.user("196")) > 10
    await store.client.aclose()


async def test_what_experiments_hold_of_an_idle_user_expires_too(valkey_url: str) -> None:
    from tests.features.conftest import open_store

    store, two_days_s = await open_store(valkey_url, Store(idle_user_days=2)), 2 * 86_400
    run, user, counted = store.client.run, store.keys.user("196"), store.keys.user_experiments("196")
    await store.log_exposures([Exposure("r1", "196", NOW_MS, "v1", "a", "e1", ("i1",))])
    for key in (user, counted):  # a user who has only seen lists
        assert two_days_s - 5 <= await run("TTL", key) <= two_days_s
    await run("EXPIRE", counted, 10)
    await run("EXPIRE", user, 10)
    await store.log_exposures([Exposure("r2", "196", NOW_MS, "v1", "a", "e1", ("i1",), forced=True)])
    assert await run("TTL", counted) > 10
    assert await run("TTL", user) <= 10  # only events prolong the features
    await run("EXPIRE", counted, 10)
    await store.record_events([event(1)])
    assert await run("TTL", counted) > 10
    await store.client.aclose()


async def test_by_default_nothing_of_a_user_expires(store: OnlineStore) -> None:
    await store.record_events([event(1)])
    await store.log_exposures([Exposure("r1", "196", NOW_MS, "v1", "a", "e1", ("i1",))])
    assert await store.client.run("TTL", store.keys.user("196")) == -1
    assert await store.client.run("TTL", store.keys.user_experiments("196")) == -1


async def test_scripts_come_back_after_the_server_forgot_them(store: OnlineStore) -> None:
    await store.record_events([event(1)])
    await store.client.raw.script_flush()
    results = await store.record_events([event(1), event(2)])
    assert [result.duplicate for result in results] == [True, False]


async def test_another_number_of_partitions_is_refused_with_both_numbers(store: OnlineStore, limits: Store) -> None:
    await store.prepare()
    other = limits.model_copy(update={"partitions": 8})
    wrong = OnlineStore(store.client, keys_of(other), other, store.event_types)
    with pytest.raises(LayoutError, match=r"4 partitions.*8"):
        await wrong.record_events([event(1)])
    with pytest.raises(LayoutError):
        await wrong.read_users(["196"])


async def test_an_unknown_type_is_an_error_before_anything_is_sent(store: OnlineStore) -> None:
    with pytest.raises(KeyError):
        await store.record_events([event(1), event(2, kind="stare")])
    assert (await store.read_users(["196"]))[0].version == 0


async def test_one_failing_event_does_not_hide_the_others(store: OnlineStore) -> None:
    """Its own keys are damaged; the others of the batch are recorded and say so."""
    await store.prepare()
    await store.client.run("SET", store.keys.user("broken"), "not a hash")
    good, bad = await store.record_events([event(1), event(2, user="broken")])
    assert not good.duplicate
    assert "refused" in str(bad)
    assert not isinstance(bad, StoreUnavailable)
    with pytest.raises(type(bad), match="WRONGTYPE"):
        await store.record_events([event(2, user="broken")])


async def test_values_without_number_are_kept_apart_from_zero(store: OnlineStore) -> None:
    await store.record_events([event(1, kind="watch", value=0.0), event(2, kind="view")])
    (user,) = await store.read_users(["196"])
    values = decode_history(user.history).values.tolist()
    assert values[0] == 0.0
    assert math.isnan(values[1])


async def test_two_prefixes_on_one_store_share_no_key(store: OnlineStore, limits: Store) -> None:
    """Two clusters may stand on one store: the same user and the same event id are another's there."""
    other_limits = limits.model_copy(update={"prefix": "other"})
    other = OnlineStore(store.client, keys_of(other_limits), other_limits, store.event_types)
    assert not (await store.record_events([event(1)]))[0].duplicate
    assert not (await other.record_events([event(1, kind="dislike")]))[0].duplicate
    await store.record_events([event(2)])
    mine, theirs = await reading.user_features(store, "196"), await reading.user_features(other, "196")
    assert (len(mine["history"]), len(theirs["history"])) == (2, 1)
    keys = {key.decode().partition(":")[0] for key in await store.client.raw.keys("*")}
    assert keys == {limits.prefix, "other"}
