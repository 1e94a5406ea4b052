"""Recreates the online features from the data set, the offline log and the streams. `python -m jobs.rebuild_features`

With `--if-empty`, as each start calls it: only when the store does not hold the features of this data set yet.
"""

import argparse
import asyncio
import sys
from dataclasses import dataclass

from tqdm import tqdm

from configs.event_types import load_event_types
from configs.settings import Settings, SettingsError, load_settings
from data.dataset import DataError, Dataset, load_dataset, processed_dir, read_description
from data.event_log import EventLog
from features.items.attribute_schema import declare_attributes
from features.recording.online_store import OnlineStore
from features.recovery.rebuild import Rebuilt, rebuild
from features.redis.errors import StoreError
from features.redis.layout import mark_seeded, read_seeded
from features.redis.lock import maintenance
from features.redis.session import store_session
from features.users.user_attributes import index_users

NO_DATA = "no data set"


@dataclass(frozen=True)
class RebuildOptions:
    """How a rebuild runs.

    Attributes:
        if_empty: do nothing when a rebuild of the present data set, or of none, has finished before.
        with_data: count the data set's interactions; without, the log and the streams alone make the features.
        wait_s: how long to wait for another maintenance job.
        lock_s: after this a killed rebuild's lock ends.
    """

    if_empty: bool = False
    with_data: bool = True
    wait_s: float = 60.0
    lock_s: float = 30.0


async def rebuild_features(settings: Settings, options: RebuildOptions, show_progress: bool = False) -> Rebuilt | None:
    """Wait for other maintenance, then rebuild the features.

    Returns:
        What was read; None when there was nothing to do.

    Raises:
        StoreBusy: another job held the lock for longer than `wait_s`.
        StoreError: the store does not answer or is full; the next run starts again from scratch.
        DataError: the data set or the log cannot be read, or the store holds an attribute with another type.
    """
    async with store_session(settings) as (client, keys):
        store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))
        await store.prepare()
        declared = settings.data
        await declare_attributes(client, keys, declared.item_attributes, declared.user_attributes, "the settings")
        await index_users(client, keys)
        if options.if_empty and await _is_there(store, settings):
            return None
        dataset = await asyncio.to_thread(_load, settings) if options.with_data else None
        async with maintenance(client, store.keys, "rebuild", options.wait_s, options.lock_s) as lock:
            # Again under the lock: another first start may just have done it
            if options.if_empty and await _is_there(store, settings):
                return None
            await mark_seeded(client, store.keys, None)
            log = EventLog(settings.log_dir)
            with tqdm(desc="features", unit=" events", disable=not show_progress) as bar:
                done = await rebuild(store, log, dataset, lock, bar.update)
            await mark_seeded(client, store.keys, dataset.meta.fingerprint if dataset else NO_DATA)
            return done


async def _is_there(store: OnlineStore, settings: Settings) -> bool:
    """Whether the features are those of the present data set; also where it is not at hand, or none was wanted."""
    seeded = await read_seeded(store.client, store.keys)
    try:
        present = (await asyncio.to_thread(read_description, processed_dir(settings))).fingerprint
    except DataError:
        return seeded is not None
    return seeded in (present, NO_DATA)


def _load(settings: Settings) -> Dataset:
    return load_dataset(processed_dir(settings), in_memory=False)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m jobs.rebuild_features", description=__doc__)
    parser.add_argument("--if-empty", action="store_true", help="do nothing when those of this data set are there")
    parser.add_argument("--no-data-set", action="store_true", help="make them from the log and the streams alone")
    parser.add_argument("--wait-s", type=float, default=60.0, help="how long to wait for another maintenance job")
    parser.add_argument("--lock-s", type=float, default=30.0, help="after this a killed rebuild's lock ends")
    given = parser.parse_args(argv)
    options = RebuildOptions(given.if_empty, not given.no_data_set, given.wait_s, given.lock_s)
    try:
        done = asyncio.run(rebuild_features(load_settings(), options, sys.stderr.isatty()))
    except (StoreError, DataError, SettingsError) as error:
        print(f"rebuild_features: {error}", file=sys.stderr)
        return 1
    if done is None:
        print("the online store holds the features already")
    else:
        print(
            f"features made from {done.interactions} interactions of the data set, {done.logged_events} events of the "
            f"log and {done.stream_events} of the streams; {done.exposures} exposures counted"
        )
    return 0
