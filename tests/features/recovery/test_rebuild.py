import asyncio
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest

from data.dataset import DataError, Dataset
from data.event_log import EventLog
from features.items.attribute_schema import declare_attributes
from features.items.catalogue import Item, put_items, read_item
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.recovery.rebuild import Rebuilt
from features.redis.errors import StoreBusy
from features.users.erasure import erase_user
from tests.features import reading
from tests.features.recovery.rebuilding import START_MS, drained, live, run

pytestmark = pytest.mark.anyio


async def test_an_attribute_of_another_type_stops_a_rebuild_before_it_changes_anything(
    valkey_store: OnlineStore, dataset: Dataset, tmp_path: Path
) -> None:
    client, keys = valkey_store.client, valkey_store.keys
    await valkey_store.record_events([live(1)])
    await declare_attributes(client, keys, {"price": "keyword"}, {}, "the settings")
    before = await reading.everything(valkey_store)
    with pytest.raises(DataError, match="price is a number, and the store holds it as keyword"):
        await run(valkey_store, EventLog(tmp_path / "log"), dataset)
    assert await reading.everything(valkey_store) == before
    assert (await valkey_store.record_events([live(2)]))[0].actions.count("profile_updated") == 1


async def test_a_rebuilt_store_equals_the_original_in_every_feature(
    store: OnlineStore, dataset: Dataset, tmp_path: Path
) -> None:
    log = EventLog(tmp_path / "log")
    await run(store, log, dataset)
    await store.record_events([live(number) for number in range(200)])
    await store.log_exposures(
        [Exposure(f"r{n}", f"u{n % 9}", START_MS, None, None, None, ("i1", "i2")) for n in range(30)]
    )
    await drained(store, log)
    await store.record_events([live(number) for number in range(150, 300)])  # some are repeats
    await store.log_exposures([Exposure("r99", "u1", START_MS, None, None, None, ("i3",))])
    before = await reading.everything(store)
    versions = [user.version for user in await store.read_users([f"u{n}" for n in range(9)])]
    done = await run(store, log, dataset)
    assert done == Rebuilt(120, 200, 100, 31)
    after = await reading.everything(store)
    assert set(after) == set(before)
    for key in before:
        assert after[key] == before[key], key
    again = [user.version for user in await store.read_users([f"u{n}" for n in range(9)])]
    assert not set(again) & set(versions)  # no cached list may pass for a current one
    results = await store.record_events([live(number) for number in range(300)])
    assert all(result.duplicate for result in results)  # retries are still known
    assert await reading.everything(store) == after


async def test_an_emptied_store_comes_back_from_the_log_and_knows_recent_retries(
    valkey_store: OnlineStore, dataset: Dataset, tmp_path: Path
) -> None:
    store, log = valkey_store, EventLog(tmp_path / "log")
    await run(store, log, dataset)
    first = await store.record_events([live(number) for number in range(100)])
    await drained(store, log)
    before = await reading.everything(store)
    await store.client.raw.flushall()
    await run(store, log, dataset)
    assert await reading.everything(store) == before
    again = await store.record_events([live(number) for number in range(100)])
    assert all(result.duplicate for result in again)
    assert [result.stream_id for result in again] == [result.stream_id for result in first]


async def test_events_during_a_rebuild_are_logged_at_once_and_in_the_features_at_its_end(
    store: OnlineStore, dataset: Dataset, tmp_path: Path
) -> None:
    log = EventLog(tmp_path / "log")
    await run(store, log, dataset)
    await store.record_events([live(number) for number in range(50)])
    rebuilding = asyncio.create_task(run(store, log, dataset))
    deferred = number = 0
    number = 50
    while not rebuilding.done():
        (result,) = await store.record_events([live(number)])
        deferred += "deferred" in result.actions
        (again,) = await store.record_events([live(number)])
        assert (again.duplicate, again.actions) == (True, result.actions)
        number += 1
    await rebuilding
    assert deferred > 0
    during = await reading.everything(store)
    await run(store, log, dataset)
    assert await reading.everything(store) == during
    users = await store.read_users([f"u{n}" for n in range(9)])
    total = sum(sum(user.counters(store.event_types).values()) for user in users)
    assert total == 120 + number


async def test_a_killed_rebuild_is_made_again_from_scratch(
    store: OnlineStore, dataset: Dataset, tmp_path: Path
) -> None:
    log = EventLog(tmp_path / "log")
    await run(store, log, dataset)
    await store.record_events([live(number) for number in range(50)])
    before = await reading.everything(store)
    for delay_s in (0.002, 0.01, 0.03):
        broken = asyncio.create_task(run(store, log, dataset))
        await asyncio.wait([broken], timeout=delay_s)
        broken.cancel()
        await asyncio.gather(broken, return_exceptions=True)
    # Where the store was too busy to take the lock back in time, that ends by itself.
    ends = time.monotonic() + 60
    while True:
        try:
            await run(store, log, dataset)
            break
        except StoreBusy:
            assert time.monotonic() < ends
            await asyncio.sleep(0.1)
    assert await reading.everything(store) == before
    (result,) = await store.record_events([live(1000)])
    assert "deferred" not in result.actions


async def test_a_rebuild_that_is_cancelled_at_any_call_of_the_store_closes_its_files(
    valkey_store: OnlineStore, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: between the reading of the history and its use there were calls, and its files stayed open."""
    store, log = valkey_store, EventLog(tmp_path / "log")
    read, run_on, calls = store.client.read, store.client.run_on, 0

    def counted(call: Any) -> Any:
        async def one(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == last:
                asyncio.get_running_loop().call_soon(rebuilding.cancel)  # as from outside: while it waits
            return await call(*arguments, **options)

        return one

    monkeypatch.setattr(store.client, "read", counted(read))
    monkeypatch.setattr(store.client, "run_on", counted(run_on))
    opened: list[IO[bytes]] = []
    make = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **options: opened.append(make(**options)) or opened[-1])
    ended = last = 0
    while not ended:
        last, calls = last + 1, 0
        rebuilding = asyncio.create_task(run(store, log, dataset))
        (got,) = await asyncio.gather(rebuilding, return_exceptions=True)
        ended = isinstance(got, Rebuilt)
        assert all(file.closed for file in opened)
    assert last > 20
    assert opened


async def test_an_erased_user_stays_erased_and_a_changed_item_stays_changed(
    store: OnlineStore, dataset: Dataset, tmp_path: Path
) -> None:
    log = EventLog(tmp_path / "log")
    await run(store, log, dataset)
    own = Item("i1", "My own title", hidden=True)
    await put_items(store.client, store.keys, [own])
    await erase_user(store, log, "u1")
    await run(store, log, dataset)
    assert (await store.read_users(["u1"]))[0].version == 0
    assert (await store.read_users(["u2"]))[0].version > 0
    assert await read_item(store.client, store.keys, "i1") == replace(own, created_ms=START_MS)


async def test_entries_in_the_log_and_still_in_the_stream_count_once(
    store: OnlineStore, dataset: Dataset, tmp_path: Path
) -> None:
    """A compaction was killed between its rename and its trim."""
    log = EventLog(tmp_path / "log")
    await store.record_events([live(number) for number in range(60)])
    streams = {}
    for partition in range(store.keys.partitions):
        key = store.keys.events(partition)
        streams[key] = await store.client.run("XRANGE", key, "-", "+")
    before = await reading.everything(store)
    await drained(store, log)
    for key, entries in streams.items():
        await store.client.run("UNLINK", key)
        for entry_id, fields in entries:
            await store.client.run("XADD", key, entry_id, "e", fields[b"e"])
    await run(store, log, None)
    assert await reading.everything(store) == before
    await drained(store, log)
    assert sum(table.num_rows for table in log.tables("events")) == 60
