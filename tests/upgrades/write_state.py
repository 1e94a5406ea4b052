"""Writes a little of all that is kept, by the code that is first on PYTHONPATH.

Run it with the code of another version, and keep what it writes as that version's state:

    git worktree add /tmp/before v0.1.0
    PYTHONPATH=/tmp/before python -P tests/upgrades/write_state.py /tmp/written
"""

import asyncio
import os
import shutil
import sys
from pathlib import Path

from configs.event_types import load_event_types
from configs.settings import Settings
from data.event_log import EventLog
from features.access import key_records
from features.experiments.changes import create_experiment
from features.experiments.experiment import Definition
from features.items.attribute_schema import declare_attributes
from features.items.catalogue import Item, put_items
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.layout import keys_of
from features.serving.promotion import set_slot
from features.users.erasure import erase_user
from jobs.maintenance.backup import backup
from jobs.maintenance.rebuild_features import RebuildOptions, rebuild_features
from models.bundle.writing import write_bundle
from tests.features.servers import Server, valkey_binary
from tests.jobs.job_data import two_tastes, write_interactions
from tests.models.bundle.small_bundle import NOW_MS, with_content, with_ranker

START_MS = 1_790_000_000_000


def event(number: int) -> Event:
    return Event(f"e{number}", str(number % 7), str(number % 11), "like", START_MS + number, categories=("Drama",))


async def write(settings: Settings, folder: Path) -> None:
    """A store with a champion, an experiment, a key, and events of which half are in the log; a backup of the half."""
    client, keys = connect(settings.store, settings.store_url), keys_of(settings.store)
    store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))
    bundle = write_bundle(settings.bundles_dir, *with_content(*with_ranker()), now_ms=NOW_MS)
    try:
        await erase_user(store, EventLog(settings.log_dir), "44")
        await rebuild_features(settings, RebuildOptions())
        await store.record_events([event(number) for number in range(40)])
        await store.log_exposures([Exposure("r1", "3", START_MS, bundle.name, "a", None, ("1", "2"))])
        await put_items(client, keys, [Item("new", "New", 2026, ("Drama",), created_ms=5)])
        await declare_attributes(client, keys, {"brand": "keyword"}, {"age": "number"}, "a person")
        await set_slot(client, keys, "champion", bundle.name, str(bundle), "first", 100)
        definition = Definition.model_validate(
            {
                "id": "colours",
                "hypothesis": "B is better",
                "variants": [
                    {"name": "a", "weight": 0.5, "slot": "champion"},
                    {"name": "b", "weight": 0.5, "slot": "challenger"},
                ],
            }
        )
        await create_experiment(client, keys, definition, START_MS)
        await key_records.make(client, keys, settings.security, "ops", ["admin"], "a person")
        await backup(settings, folder)
        await store.record_events([event(number) for number in range(40, 60)])
    finally:
        await client.aclose()


def main(folder: Path) -> None:
    os.umask(0o022)
    server = Server(valkey_binary(), folder / "state" / "store")
    try:
        settings = Settings(
            state_dir=folder / "state",
            data_dir=folder / "data",
            store={"url": server.url, "prefix": "rc", "partitions": 2, "timeout_s": 30},
        )
        write_interactions(settings, two_tastes(n_users=12, n_items=10, per_user=4))
        asyncio.run(write(settings, folder))
    finally:
        server.stop()
    (folder / "state" / "store" / "log").unlink()
    [made] = folder.glob("backup-*")
    made.rename(folder / "backup")
    shutil.rmtree(folder / "data")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
