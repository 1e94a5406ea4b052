"""The job that the first start calls: quick, idempotent, safe to kill."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from configs.settings import PROJECT_DIR, Settings
from data.dataset import DataError, load_dataset, processed_dir
from deployments.local.ray_environment import resolved_settings
from features.items.attribute_schema import read_schemas
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.redis.layout import read_seeded
from features.users.user_attributes import count_users
from jobs.maintenance.rebuild_features import NO_DATA, RebuildOptions, main, rebuild_features
from tests.features import reading
from tests.jobs.job_data import two_tastes, write_interactions

pytestmark = pytest.mark.anyio
N_EVENTS = 60 * 17


async def counted(store: OnlineStore, n_users: int = 60) -> int:
    users = await store.read_users([str(user) for user in range(n_users)])
    return sum(sum(user.counters(store.event_types).values()) for user in users)


async def test_an_empty_store_is_seeded_once(with_store: Settings, store: OnlineStore) -> None:
    first = await rebuild_features(with_store, RebuildOptions(if_empty=True))
    assert first is not None
    assert first.interactions == N_EVENTS
    assert await rebuild_features(with_store, RebuildOptions(if_empty=True)) is None
    assert await counted(store) == N_EVENTS
    fingerprint = load_dataset(processed_dir(with_store)).meta.fingerprint
    assert await read_seeded(store.client, store.keys) == fingerprint


async def test_a_data_set_with_more_rows_is_taken_over_at_the_next_start(
    with_store: Settings, store: OnlineStore
) -> None:
    """Regression: the features stayed as they were."""
    await rebuild_features(with_store, RebuildOptions(if_empty=True))
    write_interactions(with_store, two_tastes(n_users=61, n_items=40, per_user=17))
    done = await rebuild_features(with_store, RebuildOptions(if_empty=True))
    assert done is not None
    assert await counted(store, 61) == done.interactions == load_dataset(processed_dir(with_store)).meta.n_interactions
    assert await rebuild_features(with_store, RebuildOptions(if_empty=True)) is None
    shutil.rmtree(processed_dir(with_store))
    assert await rebuild_features(with_store, RebuildOptions(if_empty=True)) is None


async def test_each_start_takes_over_what_settings_declare_and_indexes_users_of_an_earlier_version(
    with_store: Settings, store: OnlineStore
) -> None:
    client, keys = store.client, store.keys
    await rebuild_features(with_store, RebuildOptions(if_empty=True))
    await client.read([("DEL", keys.users(partition)) for partition in range(keys.partitions)])
    await client.run("HDEL", keys.meta, "users_indexed")
    data = with_store.data.model_copy(update={"item_attributes": {"brand": "keyword"}})
    declared = with_store.model_copy(update={"data": data})
    assert await rebuild_features(declared, RebuildOptions(if_empty=True)) is None
    assert (await read_schemas(client, keys))[0]["brand"] == "keyword"
    assert await count_users(client, keys) == 60
    data = with_store.data.model_copy(update={"item_attributes": {"brand": "number"}})
    with pytest.raises(DataError, match="item_attributes of the settings: brand is a number"):
        await rebuild_features(with_store.model_copy(update={"data": data}), RebuildOptions(if_empty=True))


async def test_two_first_starts_at_once_seed_once(with_store: Settings, store: OnlineStore) -> None:
    done = await asyncio.gather(*(rebuild_features(with_store, RebuildOptions(if_empty=True)) for _ in range(2)))
    assert sum(one is not None for one in done) == 1
    assert await counted(store) == N_EVENTS


async def test_killed_at_any_moment_it_is_done_again_from_scratch(
    with_store: Settings, store: OnlineStore, tmp_path: Path
) -> None:
    interactions = two_tastes(n_users=200, n_items=200, per_user=48)
    write_interactions(with_store, interactions)
    file = tmp_path / "settings.yaml"
    file.write_text(resolved_settings(with_store))
    environment = {**os.environ, "RAYCOMMEND_CONFIG": str(file)}
    command = [sys.executable, "-m", "jobs.rebuild_features", "--if-empty", "--lock-s", "1"]
    lock_key = store.keys.lock("maintenance")
    killed = 0
    waiting: list[tuple[str, ...]] = []
    for number, delay_s in enumerate((0.0, 0.01, 0.03, 0.09)):  # the first kill comes as soon as the lock is taken
        before = await store.client.run("GET", lock_key)
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, cwd=PROJECT_DIR, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        ended = asyncio.create_task(process.wait())
        while not ended.done() and await store.client.run("GET", lock_key) in (None, before):  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        await asyncio.wait([ended], timeout=delay_s)
        if not ended.done():
            process.kill()
            killed += 1
        await ended
        if await read_seeded(store.client, store.keys) is None:
            (result,) = await store.record_events([Event(f"e{number}", "7", "1", "like", 10**12 + number)])
            waiting.append(result.actions)
    assert killed >= 2
    # Until a rebuild has finished, an event is logged and waits for it.
    assert waiting
    assert all("logged" in actions for actions in waiting)
    await rebuild_features(with_store, RebuildOptions(if_empty=True))
    found = await reading.everything(store)
    total = await counted(store, 200)
    assert total == len(interactions) + len(waiting)
    await rebuild_features(with_store, RebuildOptions())
    assert await reading.everything(store) == found
    (result,) = await store.record_events([Event("last", "7", "1", "like", 10**12)])
    assert "deferred" not in result.actions
    assert await counted(store, 200) == total + 1


async def test_without_the_data_set_the_log_alone_makes_the_features(with_store: Settings, store: OnlineStore) -> None:
    await rebuild_features(with_store, RebuildOptions())
    await store.record_events([Event("e", "7", "1", "like", 10**12)])
    done = await rebuild_features(with_store, RebuildOptions(with_data=False))
    assert done is not None
    assert (done.interactions, done.stream_events) == (0, 1)
    assert await counted(store) == 1
    assert await read_seeded(store.client, store.keys) == NO_DATA


def test_without_a_data_set_it_says_what_to_do(
    with_store: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(with_store.data_dir)
    file = tmp_path / "settings.yaml"
    file.write_text(resolved_settings(with_store))
    monkeypatch.setenv("RAYCOMMEND_CONFIG", str(file))
    assert main(["--if-empty"]) == 1
    assert "run `python -m data.prepare`" in capsys.readouterr().err
