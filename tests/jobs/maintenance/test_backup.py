"""A backup, restored into an empty store, gives an equal store."""

import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from configs.settings import Settings
from data.dataset import DataError
from data.event_log import EventLog
from features.items.attribute_schema import declare_attributes
from features.items.catalogue import Item, delete_item, put_items
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.recovery.store_snapshot import take_snapshot
from features.redis.errors import StoreError
from features.redis.layout import read_seeded
from features.serving.promotion import set_slot
from features.serving.slots import read_control, read_decisions, read_slots
from features.users.erasure import erase_user, export_user, read_erasures
from features.users.user_attributes import count_users, put_user_attributes
from jobs.maintenance.backup import backup, main
from jobs.maintenance.rebuild_features import RebuildOptions, rebuild_features
from jobs.maintenance.restore import restore
from tests.features import reading
from tests.jobs.job_store import opened

pytestmark = pytest.mark.anyio
START_MS = 1_790_000_000_000
ERASED = "44"


def event(number: int) -> Event:
    return Event(f"e{number}", str(number % 9), str(number % 11), "like", START_MS + number, categories=("Drama",))


async def fill(store: OnlineStore, settings: Settings) -> None:
    # Erased before the features are made: what an erased user did to sums of items, only a rebuild forgets
    await erase_user(store, EventLog(settings.log_dir), ERASED)
    await rebuild_features(settings, RebuildOptions())
    await store.record_events([event(number) for number in range(80)])
    await store.log_exposures([Exposure("r1", "3", START_MS, "v1", "a", None, ("1", "2"))])
    await put_items(store.client, store.keys, [Item("new", "New", 2026, ("Drama",), created_ms=5)])
    await delete_item(store.client, store.keys, "2", 7)
    await declare_attributes(store.client, store.keys, {"brand": "keyword"}, {"age": "number"}, "the test")
    await put_user_attributes(store.client, store.keys, {"3": {"age": 33}, "never seen": {"age": 4}})
    await set_slot(store.client, store.keys, "champion", "v1", "/bundles/v1", "first", 100)


@pytest.fixture
def elsewhere(with_store: Settings, tmp_path: Path) -> Settings:
    """An empty store and empty folders."""
    limits = with_store.store.model_copy(update={"prefix": f"t{uuid.uuid4().hex[:12]}"})
    folders = {"state_dir": tmp_path / "other" / "state", "data_dir": tmp_path / "other" / "data"}
    return with_store.model_copy(update={"store": limits, **folders})


@pytest.fixture
async def other(elsewhere: Settings) -> AsyncIterator[OnlineStore]:
    opened_store = opened(elsewhere)
    yield opened_store
    await opened_store.client.aclose()


def renamed(found: dict[str, object], old: Settings, new: Settings) -> dict[str, object]:
    return {key.replace(old.store.prefix, new.store.prefix, 1): value for key, value in found.items()}


async def test_the_restored_store_equals_the_original(
    with_store: Settings, store: OnlineStore, other: OnlineStore, elsewhere: Settings, tmp_path: Path
) -> None:
    await fill(store, with_store)
    folder = await backup(with_store, tmp_path / "backups")
    assert [path.name for path in (tmp_path / "backups").iterdir()] == [folder.name]
    assert [path for path in (folder, *folder.rglob("*")) if path.stat().st_mode & 0o077] == []
    await restore(elsewhere, folder)
    assert await reading.everything(other) == renamed(await reading.everything(store), with_store, elsewhere)
    old, new = [await take_snapshot(one.client, one.keys) for one in (store, other)]
    parts = ("catalogue", "slots", "decisions", "erased", "attribute_schema", "user_attributes")
    assert [getattr(new, part) for part in parts] == [getattr(old, part) for part in parts]
    assert (new.attribute_schema["item:brand"], new.user_attributes["never seen"]) == ("keyword", '{"age":4}')
    assert await count_users(other.client, other.keys) == await count_users(store.client, store.keys)
    assert await read_slots(other.client, other.keys) == await read_slots(store.client, store.keys)
    assert len(await read_decisions(other.client, other.keys)) == 1
    before, after = await read_control(store.client, store.keys), await read_control(other.client, other.keys)
    assert after.catalogue_version > before.catalogue_version  # replicas read all anew
    assert await read_seeded(other.client, other.keys) == await read_seeded(store.client, store.keys)
    assert (await read_erasures(other.client, other.keys, elsewhere.log_dir)).covers(ERASED)
    assert (await other.read_users([ERASED]))[0].version == 0
    key = elsewhere.log_dir / "erasure_key"
    assert key.read_bytes() == (with_store.log_dir / "erasure_key").read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    mine = await export_user(store, EventLog(with_store.log_dir), "3")
    theirs = await export_user(other, EventLog(elsewhere.log_dir), "3")
    assert theirs["events"] == mine["events"]
    assert theirs["exposures"] == mine["exposures"]
    # Retries of events from before the backup are still known, and new ones go on
    again, new_event = await other.record_events([event(3), event(1000)])
    assert (again.duplicate, new_event.duplicate) == (True, False)
    # And the catalogue can still change
    await put_items(other.client, other.keys, [Item("newer", "Newer")])


async def test_an_interrupted_restore_is_started_again(
    with_store: Settings,
    store: OnlineStore,
    other: OnlineStore,
    elsewhere: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await fill(store, with_store)
    folder = await backup(with_store, tmp_path / "backups")

    async def power_cut(*_: object) -> None:
        raise StoreError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("jobs.maintenance.restore.mark_seeded", power_cut)
        with pytest.raises(StoreError, match="power cut"):
            await restore(elsewhere, folder)
    await restore(elsewhere, folder)
    assert await reading.everything(other) == renamed(await reading.everything(store), with_store, elsewhere)


async def test_a_store_in_use_is_not_overwritten(
    with_store: Settings, store: OnlineStore, elsewhere: Settings, tmp_path: Path
) -> None:
    await fill(store, with_store)
    folder = await backup(with_store, tmp_path / "backups")
    before = await reading.everything(store)
    with pytest.raises(StoreError, match="not empty"):
        await restore(with_store, folder)
    assert await reading.everything(store) == before
    shutil.copytree(with_store.log_dir, elsewhere.log_dir)
    with pytest.raises(DataError, match="a log already"):
        await restore(elsewhere, folder)


async def test_a_damaged_backup_is_refused_before_anything_is_touched(
    with_store: Settings, store: OnlineStore, elsewhere: Settings, tmp_path: Path
) -> None:
    await fill(store, with_store)
    folder = await backup(with_store, tmp_path / "backups")
    part = next((folder / "log" / "events").iterdir())
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=f"{part.name}: it is damaged"):
        await restore(elsewhere, folder)
    part.unlink()
    with pytest.raises(DataError, match=f"{part.name}: it is missing"):
        await restore(elsewhere, folder)
    with pytest.raises(DataError, match="no backup"):
        await restore(elsewhere, tmp_path)
    other_partitions = elsewhere.store.model_copy(update={"partitions": 3})
    part.write_bytes(content)
    with pytest.raises(DataError, match="16 partitions"):
        await restore(elsewhere.model_copy(update={"store": other_partitions}), folder)
    assert not elsewhere.state_dir.exists()


async def test_events_acknowledged_before_the_backup_are_in_it(
    with_store: Settings, store: OnlineStore, tmp_path: Path
) -> None:
    await store.record_events([event(number) for number in range(30)])
    folder = await backup(with_store, tmp_path / "backups")
    held = [row for table in EventLog(folder / "log").tables("events") for row in table["event_id"].to_pylist()]
    assert sorted(held) == sorted(f"e{number}" for number in range(30))


def test_a_store_that_is_down_leaves_no_half_backup(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAYCOMMEND_STATE_DIR", str(settings.state_dir))
    monkeypatch.setenv("REDIS_URL", settings.store_url)
    assert main([str(tmp_path / "backups")]) == 1
    assert "does not answer" in capsys.readouterr().err
    assert not (tmp_path / "backups").exists()
