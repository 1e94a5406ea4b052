"""Drains the streams of events and exposures into the offline log. `python -m jobs.compact`"""

import argparse
import asyncio
import sys

from configs.event_types import load_event_types
from configs.settings import Settings, SettingsError, load_settings
from data.dataset import DataError
from data.event_log import EventLog
from features.recording.online_store import OnlineStore
from features.redis.errors import StoreError
from features.redis.lock import maintenance
from features.redis.session import store_session
from features.streams.drain import Drained, drain

LOCK_S = 30.0


async def compact(
    settings: Settings, wait_s: float = 60.0, lock_s: float = LOCK_S, chunk_rows: int = 20_000
) -> Drained:
    """Wait for other maintenance, then drain the streams into the log.

    Raises:
        StoreBusy: another job held the lock for longer than `wait_s`.
        StoreUnavailable: the store does not answer.
    """
    async with store_session(settings) as (client, keys):
        store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))
        await store.prepare()
        async with maintenance(client, store.keys, "compaction", wait_s, lock_s) as lock:
            return await drain(client, store.keys, EventLog(settings.log_dir), lock, chunk_rows)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m jobs.compact", description=__doc__)
    parser.add_argument("--wait-s", type=float, default=60.0, help="how long to wait for another maintenance job")
    parser.add_argument("--lock-s", type=float, default=LOCK_S, help="after this a killed compaction's lock ends")
    parser.add_argument("--chunk-rows", type=int, default=20_000, help="rows per file, at most")
    options = parser.parse_args(argv)
    try:
        done = asyncio.run(compact(load_settings(), options.wait_s, options.lock_s, options.chunk_rows))
    except (StoreError, DataError, SettingsError) as error:
        print(f"compact: {error}", file=sys.stderr)
        return 1
    print(f"{done.events} events and {done.exposures} exposures moved into the log, {done.parts} new files")
    return 0
