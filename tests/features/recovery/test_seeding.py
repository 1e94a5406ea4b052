"""A store that starts from a data set."""

from pathlib import Path

import pytest

from configs.settings import Store
from data.dataset import Dataset
from data.event_log import EventLog
from features.items.attribute_schema import read_schemas
from features.items.catalogue import Item, read_item
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.recovery.described import catalogue_items
from features.recovery.rebuild import Rebuilt
from features.users.erasure import erase_user
from features.users.user_attributes import list_users, put_user_attributes, read_user_attributes
from tests.features import oracle, reading
from tests.features.recovery.rebuilding import CATEGORIES, ITEM_ATTRIBUTES, START_MS, live, run

pytestmark = pytest.mark.anyio


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
