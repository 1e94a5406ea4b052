import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

import pytest

from data.event_log import EventLog
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.redis.errors import StoreBusy, StoreError
from features.redis.lock import maintenance
from features.serving.slots import read_control
from features.streams.drain import drain
from features.users.erasure import Erasures, erase_user, export_user, read_erasures
from features.users.erasure_key import make_key
from features.users.user_attributes import put_user_attributes
from tests.features import reading
from tests.features.server_clock import next_millisecond

pytestmark = pytest.mark.anyio
NOW_MS = 1_790_000_000_000


def event(user: str, number: int, **fields: object) -> Event:
    given = {"context": {"user_id": "victim", "device": "tv"}, "categories": ("Drama",), **fields}
    return Event(f"e{number}", user, f"i{number}", "like", NOW_MS + number, **given)  # type: ignore[arg-type]


def shown(user: str, number: int) -> Exposure:
    return Exposure(f"r{user}{number}", user, NOW_MS, "v1", None, None, ("i1",), context={"user_id": "victim"})


async def fill(store: OnlineStore, log: EventLog) -> list[str]:
    """A victim and neighbours in the same partition, partly drained into the log. Returns the neighbours."""
    partition = store.keys.partition_of("victim")
    same = [f"n{number}" for number in range(100) if store.keys.partition_of(f"n{number}") == partition][:3]
    users = ["victim", *same, "victim2", 'vic"tim']
    for user in users:
        await store.record_events([event(user, number) for number in range(5)])
        await store.log_exposures([shown(user, 1)])
    async with maintenance(store.client, store.keys, "compaction") as lock:
        await drain(store.client, store.keys, log, lock)
    for user in users:
        await store.record_events([event(user, number) for number in range(5, 8)])
        await store.log_exposures([shown(user, 2)])
    return users[1:]


async def test_an_erased_user_is_nowhere_and_nobody_else_is_touched(store: OnlineStore, tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    others = await fill(store, log)
    described = {user: {"age": len(user)} for user in ("victim", *others)}
    await put_user_attributes(store.client, store.keys, described)
    kept = {user: await export_user(store, log, user) for user in others}
    erasure = await erase_user(store, log, "victim")
    assert (erasure.stream_entries, erasure.log_rows) == (4, 6)
    assert erasure.keys == 5
    assert (await store.read_users(["victim"]))[0].version == 0
    gone = await export_user(store, log, "victim")
    assert (gone["events"], gone["exposures"], gone["history"], gone["attributes"]) == ([], [], [], {})
    assert [export["attributes"] for export in kept.values()] == [described[user] for user in others]
    index = await store.client.run("ZRANGE", store.keys.users(store.keys.partition_of("victim")), 0, -1)
    assert b"victim" not in index
    async for key in store.client.scan("*victim"):
        raise AssertionError(f"a key was left: {key!r}")
    for user in others:
        again = await export_user(store, log, user)
        assert {**again, "exported_at": 0} == {**kept[user], "exported_at": 0}
    assert log.sweep() == 0
    assert (await read_control(store.client, store.keys)).erasures_version == 1
    erasures = await read_erasures(store.client, store.keys, tmp_path)
    assert erasures.covered(["victim", *others]) == {"victim"}
    repeated = await erase_user(store, log, "victim")
    assert (repeated.keys, repeated.stream_entries, repeated.log_rows) == (0, 0, 0)


async def test_who_comes_back_starts_anew_and_keeps_the_new_events(store: OnlineStore, tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    await fill(store, log)
    (before,) = await store.read_users(["victim"])
    erasure = await erase_user(store, log, "victim")
    (result,) = await store.record_events([event("victim", 1)])
    assert not result.duplicate  # the id was erased as well
    assert result.user_version > before.version
    found = await export_user(store, log, "victim")
    assert len(found["events"]) == 1
    erasures = await read_erasures(store.client, store.keys, tmp_path)
    assert erasures.covers("victim")  # the data set and old models
    assert not erasures.covers("victim", erasure.time_ms + 1)  # what was made since


async def test_export_holds_everything_once_whether_drained_or_not(store: OnlineStore, tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    await fill(store, log)
    found = await export_user(store, log, "victim")
    assert [row["event_id"] for row in found["events"]] == [f"e{number}" for number in range(8)]
    assert [row["recommendation_id"] for row in found["exposures"]] == ["rvictim1", "rvictim2"]
    assert found["events"][0]["context"] == {"user_id": "victim", "device": "tv"}
    assert found["profile"]["events_by_type"] == {"like": 8}
    assert found["history"][0] == {"item_id": "i0", "time_ms": NOW_MS, "event_type": "like", "value": None}
    assert set(found["profile"]["affinities"]) == {"Drama"}
    assert found["user_id"] == "victim"


async def test_a_long_stream_is_walked_in_pages(valkey_store: OnlineStore, tmp_path: Path) -> None:
    store = valkey_store
    partition = store.keys.partition_of("victim")
    same = next(f"n{n}" for n in range(100) if store.keys.partition_of(f"n{n}") == partition)
    await store.record_events([event("victim" if number % 3 else same, number) for number in range(1600)])
    erasure = await erase_user(store, EventLog(tmp_path), "victim")
    assert erasure.stream_entries == sum(bool(number % 3) for number in range(1600))
    assert await store.client.run("XLEN", store.keys.events(partition)) == 1600 - erasure.stream_entries


async def test_erasing_waits_for_a_compaction_and_gives_up_with_its_name(store: OnlineStore, tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    await store.record_events([event("victim", 1)])
    async with maintenance(store.client, store.keys, "compaction"):
        with pytest.raises(StoreBusy, match="compaction"):
            await erase_user(store, log, "victim", wait_s=0.2)
        assert (await reading.user_features(store, "victim"))["counters"] == {"like": 1}
        waiting = asyncio.create_task(erase_user(store, log, "victim", wait_s=5))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
    assert (await waiting).stream_entries == 1


async def test_the_store_alone_does_not_tell_who_was_erased(store: OnlineStore, tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log")
    await erase_user(store, log, "196")
    (stored,) = await store.client.run("HKEYS", store.keys.erased)
    plain = [make(b"196").hexdigest() for make in (hashlib.sha256, hashlib.blake2b)]
    assert not any(digest in stored.decode() for digest in [*plain, blake2b(b"196", digest_size=32).hexdigest()])
    key = tmp_path / "log" / "erasure_key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(key.read_bytes()) == 64
    assert {path.name for path in (tmp_path / "log").iterdir()} == {"erasure_key"}
    assert (await read_erasures(store.client, store.keys, tmp_path / "log")).covers("196")
    made = key.read_bytes()
    await erase_user(store, log, "197")
    assert key.read_bytes() == made


async def test_tombstones_of_earlier_versions_still_hold(store: OnlineStore, tmp_path: Path) -> None:
    await store.client.run("HSET", store.keys.erased, hashlib.sha256(b"old").hexdigest(), NOW_MS)
    assert (await read_erasures(store.client, store.keys, tmp_path)).covered(["old", "new"]) == {"old"}
    await erase_user(store, EventLog(tmp_path), "new")
    assert (await read_erasures(store.client, store.keys, tmp_path)).covered(["old", "new", "n"]) == {"old", "new"}


async def test_without_its_key_nobody_is_taken_for_not_erased(store: OnlineStore, tmp_path: Path) -> None:
    await erase_user(store, EventLog(tmp_path / "a"), "victim")
    with pytest.raises(StoreError, match="missing"):
        await read_erasures(store.client, store.keys, tmp_path / "b")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "erasure_key").write_text("another")
    with pytest.raises(StoreError, match="not the one"):
        await read_erasures(store.client, store.keys, tmp_path / "b")
    await store.record_events([event("other", 1)])
    with pytest.raises(StoreError, match="not the one"):
        await erase_user(store, EventLog(tmp_path / "b"), "other")
    assert (await store.read_users(["other"]))[0].version > 0


def test_processes_that_make_the_key_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: make_key(tmp_path), range(64)))
    assert len(found) == 1


async def test_the_export_holds_what_experiments_counted(store: OnlineStore, tmp_path: Path) -> None:
    exposure = Exposure("r1", "victim", NOW_MS, "v1", "b", "e1", ("i1", "i2"), before=3)
    await store.log_exposures([exposure])
    await next_millisecond(store)  # an event counts for lists of earlier milliseconds
    await store.record_events([event("victim", 1, recommendation_id="r1")])
    found = await export_user(store, EventLog(tmp_path), "victim")
    totals = found["experiments"]["e1"]
    assert {name: totals[name] for name in ("variant", "before", "lists", "clicked", "engaged", "events")} == {
        "variant": "b", "before": 3, "lists": 1, "clicked": 1, "engaged": 1, "events": 1,
    }  # fmt: skip
    [shown_list] = found["counted_lists"]
    assert (shown_list["recommendation_id"], shown_list["item_ids"], shown_list["clicked"]) == (
        "r1",
        ["i1", "i2"],
        True,
    )
    nobody = await export_user(store, EventLog(tmp_path), "nobody")
    assert (nobody["experiments"], nobody["counted_lists"]) == ({}, [])


def test_no_tombstones_cover_nobody() -> None:
    assert not Erasures({}).covers("u")
    assert Erasures({}).covered(["u"]) == set()
