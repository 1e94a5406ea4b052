"""Drains the streams of events and exposures into the offline log. `python -m jobs.compact`

Autopilot does the same by itself; this is for a person who wants it now.
"""

import argparse
import asyncio
import sys

from configs.settings import SettingsError, load_settings
from data.dataset import DataError
from features.redis.errors import StoreError
from features.streams.compaction import LOCK_S, compact


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
