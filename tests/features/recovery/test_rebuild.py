import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pytest

from configs.settings import Store
from data.dataset import DataError, Dataset, Tables, load_dataset
from data.dataset_writer import write_dataset
from data.event_log import EventLog
from data.fields.attributes import AttributeType
from features.items.attribute_schema import declare_attributes, read_schemas
from features.items.catalogue import Item, put_items, read_item
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.recovery.described import catalogue_items
from features.recovery.rebuild import Rebuilt, rebuild
from features.redis.lock import maintenance
from features.streams.drain import drain
from features.users.erasure import erase_user
from features.users.user_attributes import list_users, put_user_attributes, read_user_attributes
from tests.features import oracle, reading

pytestmark = pytest.mark.anyio
START_MS = 1_780_000_000_000
CATEGORIES = {f"i{n}": [["Drama"], ["War", "Drama"], []][n % 3] for n in range(30)}

ITEM_ATTRIBUTES: dict[str, AttributeType] = {
    "brand": "keyword",
    "colours": "keywords",
    "price": "number",
    "new": "flag",
    "since": "time",
}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """120 ratings of 6 users, in no order of time."""
    n = 120
    interactions = pd.DataFrame(
        {
            "user_id": [f"u{k % 6}" for k in range(n)],
            "item_id": [f"i{(k * 7) % 30}" for k in range(n)],
            "event_type": ["rating" if k % 4 else "like" for k in range(n)],
            "value": [float(k % 5 + 1) if k % 4 else None for k in range(n)],
            "timestamp_ms": [START_MS - ((k * 37) % n) * 3_600_000 for k in range(n)],
        }
    )
    items = pd.DataFrame(
        {
            "item_id": list(CATEGORIES),
            "title": [f"Title {item}" for item in CATEGORIES],
            "year": pd.array([None, *[1990] * 29], dtype="Int16"),
            "categories": list(CATEGORIES.values()),
            "added_ms": pd.array([None, *[START_MS] * 29], dtype="Int64"),
            "brand": [None, *["Acme"] * 29],
            "colours": [None, ["red", "blue"], *[[]] * 28],
            "price": [None, 1.5, *[2] * 28],
            "new": [None, True, *[False] * 28],
            "since": pd.array([None, *[START_MS] * 29], dtype="Int64"),
        }
    )
    users = pd.DataFrame({"user_id": [f"u{k}" for k in range(6)], "age": [None, 30, 31, 32, 33, 34]})
    folder = tmp_path / "processed"
    tables = Tables(interactions, items, users, item_attributes=ITEM_ATTRIBUTES, user_attributes={"age": "number"})
    write_dataset(folder, tables, "toy", "a test", "0", ("str", "str"))
    return load_dataset(folder)


@pytest.fixture
def on_disk(dataset: Dataset, tmp_path: Path) -> Dataset:
    """The same without its interactions in memory."""
    return load_dataset(tmp_path / "processed", in_memory=False)


def live(number: int) -> Event:
    item = f"i{number % 30}"
    time_ms = START_MS + (number * 7919) % 100 * 60_000
    kind = ("like", "click", "dislike", "view")[number % 4]
    return Event(f"e{number}", f"u{number % 9}", item, kind, time_ms, categories=tuple(CATEGORIES[item]))


async def run(store: OnlineStore, log: EventLog, dataset: Dataset | None) -> Rebuilt:
    async with maintenance(store.client, store.keys, "rebuild") as lock:
        return await rebuild(store, log, dataset, lock)


async def drained(store: OnlineStore, log: EventLog) -> None:
    async with maintenance(store.client, store.keys, "compaction") as lock:
        await drain(store.client, store.keys, log, lock)


async def test_seeding_gives_the_features_of_the_interactions(
    store: OnlineStore, dataset: Dataset, limits: Store
) -> None:
    done = await run(store, EventLog(Path("nowhere")), dataset)
    assert done == Rebuilt(120, 0, 0, 0)
    events = [
        Event(
            str(row),
            user,
            item,
            kind,
            int(time_ms),
            None if value != value else value,
            categories=tuple(CATEGORIES[item]),
        )
        for row, (user, item, kind, value, time_ms) in enumerate(dataset.interactions.itertuples(index=False))
    ]
    for user in ("u0", "u5"):
        expected = oracle.user_features([e for e in events if e.user_id == user], store.event_types, limits)
        found = await reading.user_features(store, user)
        assert found["history"] == expected["history"]
        assert found["counters"] == expected["counters"]
        assert found["affinities"] == pytest.approx(expected["affinities"], rel=1e-9)
    assert await read_item(store.client, store.keys, "i1") == list(catalogue_items(dataset))[1]
    assert (await read_item(store.client, store.keys, "i0")) == Item("i0", "Title i0", None, ("Drama",))


async def test_interactions_are_read_part_by_part(
    valkey_store: OnlineStore, dataset: Dataset, on_disk: Dataset, tmp_path: Path
) -> None:
    """Regression: all of them were read into a frame, with a text for every cell."""
    assert on_disk.interactions.empty
    log = EventLog(tmp_path / "log")
    found = []
    await run(valkey_store, log, dataset)
    await erase_user(valkey_store, log, "u3")
    for given in (dataset, on_disk):
        done = await run(valkey_store, log, given)
        assert done == Rebuilt(100, 0, 0, 0)
        features = [await reading.user_features(valkey_store, f"u{k}") for k in range(6)]
        found.append([(one["history"], one["counters"], one["affinities"]) for one in features])
    assert found[0] == found[1]
    assert sorted(path.name for path in (tmp_path / "processed").iterdir()) == [
        "dataset.json", "interactions.parquet", "items.parquet", "users.parquet",
    ]  # fmt: skip


async def test_seeding_describes_items_and_users_but_nobody_who_was_erased_or_described_since(
    valkey_store: OnlineStore, dataset: Dataset, tmp_path: Path
) -> None:
    client, keys, log = valkey_store.client, valkey_store.keys, EventLog(tmp_path / "log")
    await erase_user(valkey_store, log, "u2")
    await put_user_attributes(client, keys, {"u3": {"age": 99}})
    await run(valkey_store, log, dataset)
    described = {"brand": "Acme", "colours": ["red", "blue"], "price": 1.5, "new": True, "since": START_MS}
    first, second = await read_item(client, keys, "i0"), await read_item(client, keys, "i1")
    assert first is not None
    assert second is not None
    assert (first.attributes, second.attributes) == ({}, described)
    assert await read_schemas(client, keys) == (ITEM_ATTRIBUTES, {"age": "number"})
    found = [await read_user_attributes(client, keys, f"u{n}") for n in range(6)]
    assert found == [None, {"age": 30}, None, {"age": 99}, {"age": 33}, {"age": 34}]
    assert [user.user_id for user in (await list_users(client, keys, valkey_store.event_types, 9)).users] == [
        "u0", "u1", "u3", "u4", "u5"
    ]  # fmt: skip


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


async def test_seeding_equals_recording_every_interaction(
    store: OnlineStore, dataset: Dataset, limits: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script one by one, and numpy at once, leave the same store; also where histories and lists overflow. The
    events come in the order of their times: others fall out of full histories in another order."""
    limits = limits.model_copy(update={"history_limit": 7, "seen_limit": 200})
    store = OnlineStore(store.client, store.keys, limits, store.event_types)
    for number, row in enumerate(dataset.interactions.sort_values("timestamp_ms").itertuples(index=False)):
        user, item, kind, value, time_ms = row
        known = None if value != value else value
        sent = Event(f"e{number}", user, item, kind, int(time_ms), known, categories=tuple(CATEGORIES[item]))
        await store.record_events([sent])
    recorded = await reading.everything(store)
    await store.client.raw.flushall()
    await store.prepare()
    await run(OnlineStore(store.client, store.keys, limits, store.event_types), EventLog(Path("nowhere")), dataset)
    seeded = await reading.everything(store)
    assert set(seeded) == set(recorded)
    for key in recorded:
        assert seeded[key] == recorded[key], key
    (result,) = await store.record_events([live(1)])  # and the script goes on from there
    assert (await store.read_users(["u1"]))[0].version == result.user_version


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
    await run(store, log, dataset)
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
