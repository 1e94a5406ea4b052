"""What is used, measured on a real store and real folders."""

from pathlib import Path

import pytest

from configs import clock
from configs.settings import Settings
from features.lifecycle import use as use_module
from features.lifecycle.use import disk_use, measure, store_use
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore

pytestmark = pytest.mark.anyio


async def fill(store: OnlineStore, users: int) -> None:
    now_ms = clock.now_ms()
    await store.record_events([Event(f"e{n}", f"u{n}", f"i{n % 5}", "like", now_ms) for n in range(users)])
    await store.log_exposures([Exposure(f"r{n}", f"u{n}", now_ms, "v1", None, None, ("a", "b")) for n in range(users)])


async def true_bytes(store: OnlineStore, *kinds: str) -> int:
    keys = [key for kind in kinds for key in [one async for one in store.client.scan(store.keys.pattern(kind))]]
    if "u" in kinds:
        keys += [store.keys.users(partition).encode() for partition in range(store.keys.partitions)]
    return sum(await store.client.read([("MEMORY USAGE", key) for key in keys]))


async def test_groups_of_keys_are_told_apart(store: OnlineStore) -> None:
    await fill(store, 20)
    found = await store_use(store.client, store.keys)
    assert found["ledgers"] == pytest.approx(await true_bytes(store, "d"), rel=0.3)
    assert found["users"] == pytest.approx(await true_bytes(store, *"uhslxa"), rel=0.3)
    assert found["items"] > await true_bytes(store, "i") / 2
    streams = [key for n in range(store.keys.partitions) for key in (store.keys.events(n), store.keys.exposures(n))]
    sizes = await store.client.read([("MEMORY USAGE", key) for key in streams])
    assert found["streams"] == sum(size or 0 for size in sizes) > 0


async def test_a_large_store_is_sampled(store: OnlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(store, 600)
    true = await true_bytes(store, *"uhslxa")
    found = await store_use(store.client, store.keys)
    assert 0.5 * true < found["users"] < 2 * true
    monkeypatch.setattr(use_module, "SAMPLE", 100_000)
    assert (await store_use(store.client, store.keys))["users"] == pytest.approx(true, rel=0.05)


async def test_folders_count_for_their_groups(store: OnlineStore, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", data_dir=tmp_path / "data", keeping={"log_bytes": 4000})
    (settings.log_dir / "events").mkdir(parents=True)
    (settings.log_dir / "events" / "part").write_bytes(bytes(3000))
    (settings.bundles_dir / "v1").mkdir(parents=True)
    (settings.bundles_dir / "v1" / "model").write_bytes(bytes(200))
    (settings.state_dir / "unknown").write_bytes(bytes(7))
    (settings.data_dir / "raw").mkdir(parents=True)
    (settings.data_dir / "raw" / "zip").write_bytes(bytes(50))
    found = disk_use(settings)
    assert (found["log"], found["bundles"], found["registry"], found["files"]) == (3000, 200, 0, 57)
    [log] = [one for one in await measure(store.client, store.keys, settings) if one.group == "log"]
    assert (log.used_bytes, log.budget_bytes, log.share) == (3000, 4000, 0.75)
