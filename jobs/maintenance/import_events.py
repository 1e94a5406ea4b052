"""Imports events from a file, a folder or an object store. `python -m jobs.import_events FILE [--map map.yaml]`

What can be read is what `make up DATA=` reads, but for databases. Columns that are called as the fields of an event are
taken as they are; others by a map, by that of the data set where it fits, or by a guess, which is shown. Each row is
checked like an event that came over HTTP. Recent ones take its way through the store. Of a large file, what happened
before the store's windows goes into the log in bulk when the file is read to its end, and the features are then made
anew from data set and log. An import that was interrupted goes on where it stopped when it is started again; rows that
are sent twice count once. Refused rows are listed, with reasons, in a report.
"""

import argparse
import asyncio
import json
import os
import sys
from bisect import bisect_right
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from tqdm import tqdm

from configs import clock
from configs.event_types import EventTypes, load_event_types
from configs.settings import Settings, SettingsError, load_settings
from data.dataset import DataError, load_dataset, processed_dir
from data.event_log import EventLog
from data.imports.event_batches import EventSource
from data.mapping.column_map import MAP_FILE
from features.items.catalogue import Catalogue, Item
from features.recording.event import Event
from features.recording.event_request import EventRules
from features.recording.online_store import OnlineStore, conflict_words
from features.recovery.rebuild import rebuild
from features.redis.disk_space import require_room
from features.redis.errors import EventConflict, StoreError
from features.redis.identity import store_identity
from features.redis.layout import mark_seeded, read_seeded
from features.redis.lock import maintenance
from features.redis.session import store_session
from features.streams.drain import drain
from jobs.maintenance.history_rows import refusal, sort_batch
from jobs.maintenance.import_ledger import REPORT_END, STATE_END, ledger_of
from jobs.maintenance.rebuild_features import NO_DATA
from jobs.maintenance.staged_history import StagedHistory

BATCH = 1000
BULK_BYTES = 2_000_000
"""Of a file from this size on, history goes in bulk; making all features anew would cost more for a smaller one."""
LOCK_WAIT_S = 600.0
NO_HORIZON = -(2**63)
"""Of a small source nothing is history."""
COLUMNS = """\
columns, or fields of JSON lines, that need no map:
  user_id, item_id          whole numbers or texts
  event_type                one of those in configs/events.yaml
  timestamp, timestamp_ms   one of the two: a number since 1970 (its size says the unit) or ISO 8601; milliseconds
  rating, value             for types that carry one
  event_id                  made of the row's number and content where there is none
  recommendation_id         the list that led to the event
  context                   a JSON object

A cell of a CSV that is no number is a text, and an id must not have spaces around it.
Counts and the report of refused rows are kept in the folder `imports` of the state folder. More: docs/own-data.md
"""


@dataclass
class ImportedEvents:
    """Counts of an import, over all its attempts; kept beside the report, so that it can go on."""

    rows: int = 0
    recorded: int = 0
    duplicates: int = 0
    refused: int = 0
    left_out: int = 0
    """Rows whose type the map leaves out."""
    finished: bool = False
    staged: int = 0
    """Rows of history that are kept aside until the file is read to its end."""
    horizon_ms: int | None = None
    """What happened before it is history; fixed by the first attempt."""
    published_ms: int | None = None
    """When the history began to go into the log."""
    seeded: str | None = None
    """Which data set's features the store held then."""
    files: list[tuple[int, str]] = field(default_factory=list)
    """Where each file begins: the number of its first row, and its name; none where there is only one."""
    report_bytes: int = 0
    """Size of the report then."""
    begun_at: int = 0
    """Rows that earlier attempts had done when this one began."""


async def import_events(
    settings: Settings,
    address: Path | str,
    map_file: Path | None = None,
    show_progress: bool = False,
    show: Callable[[str], object] = lambda line: None,
) -> tuple[ImportedEvents, Path]:
    """Import a file, or the files of a folder or of an object store.

    Args:
        map_file: what the columns hold, where they have other names than the fields of an event.
        show: told the map as it is used, before anything is recorded.

    Returns:
        The counts, and the report of refused rows: one JSON object a line with `row`, `field` and `reason`, and `file`
        where there are several. What was imported to its end before is not imported again.

    Raises:
        DataError: the file cannot be read at all, or it is not clear what its columns hold.
        StoreError: the store failed; start again to go on.
    """
    types = load_event_types(settings.data.events)
    source = await asyncio.to_thread(_source, settings, str(address), types, map_file)
    for line in source.lines:
        show(line)
    folder = settings.state_dir / "imports"
    folder.mkdir(parents=True, exist_ok=True)
    digest = await asyncio.to_thread(source.digest)
    stem = Path(source.name.split("?")[0]).stem
    async with store_session(settings) as (client, keys):
        identity = await store_identity(client, keys)
        state, report = ledger_of(folder, stem, digest, identity)
        done = ImportedEvents(**json.loads(state.read_bytes())) if state.exists() else ImportedEvents()
        done.begun_at = done.rows
        if done.finished:
            return done, report
        if done.published_ms is None:
            _keep_until(report, done)
        rules = EventRules(types, settings.store.max_future_s, settings.data.open_catalogue)
        store = OnlineStore(client, keys, settings.store, types)
        await store.prepare()
        catalogue = Catalogue(client, store.keys, types=())
        await catalogue.load()
        files = _Files(state, report)
        staged = StagedHistory(folder / state.name.removesuffix(STATE_END), keys)
        if done.published_ms is None:
            with tqdm(desc=stem, unit=" rows", initial=done.rows, disable=not show_progress) as bar:
                await _take(settings, store, source, files, done, staged, rules, catalogue.items, bar)
        if done.staged:
            await _publish(settings, store, files, done, staged, show_progress)
        done.finished = True
        save_progress(state, done)
        staged.remove()
        return done, report


def _source(settings: Settings, address: str, types: EventTypes, map_file: Path | None) -> EventSource:
    """The source with its map. Raises `DataError`."""
    preset, processed = settings.data.events, processed_dir(settings)
    try:
        return EventSource(address, types, preset, map_file, processed)
    except DataError:
        # A header may be unreadable without the encoding that the data set's map names; its columns are looked for
        # by the map then, as if it had been given.
        kept = processed / MAP_FILE
        if map_file is not None or not kept.is_file():
            raise
        with suppress(DataError):
            return EventSource(address, types, preset, kept, processed)
        raise


@dataclass(frozen=True)
class _Files:
    state: Path
    report: Path

    def refuse(self, refused: list[dict[str, object]], done: ImportedEvents) -> None:
        """Add lines to the report, whose rows are numbered in their own file."""
        with self.report.open("a") as file:
            for one in sorted(refused, key=itemgetter("row")):
                file.write(json.dumps(one | _place(int(str(one["row"])), done)) + "\n")


def _place(row: int, done: ImportedEvents) -> dict[str, object]:
    """Where a row of all files stands: the file, where there are several, and the row's number in it."""
    if not done.files:
        return {"row": row}
    first, name = done.files[bisect_right(done.files, row, key=itemgetter(0)) - 1]
    return {"file": name, "row": row - first + 1}


async def _take(
    settings: Settings,
    store: OnlineStore,
    source: EventSource,
    files: _Files,
    done: ImportedEvents,
    staged: StagedHistory,
    rules: EventRules,
    items: Mapping[str, Item],
    bar: Any,
) -> None:
    """Of a large source history aside and recent rows through the script of an event; of a small one, every row."""
    bulk = source.size >= BULK_BYTES
    if done.horizon_ms is None and bulk:
        limits = settings.store
        window_s = max(limits.dedupe_window_s, limits.attribution_window_s)
        done.horizon_ms = clock.now_ms() - 1000 * window_s
    staged.forget_from(done.rows + 1)
    for whole in source.batches():
        if whole.file and (not done.files or (done.files[-1][0] < whole.first and done.files[-1][1] != whole.file)):
            done.files.append((whole.first, whole.file))
        # What an earlier attempt has done is left out.
        for batch in whole.parts(done.rows, max(1, whole.count) if bulk else BATCH):
            horizon_ms = done.horizon_ms if bulk and done.horizon_ms is not None else NO_HORIZON
            require_room(settings)
            found = await asyncio.to_thread(sort_batch, batch, rules, items, horizon_ms)
            count = await asyncio.to_thread(staged.add, batch.first, found.history)
            refused = list(found.refused)
            recent = iter(found.recent.items())
            while part := dict(islice(recent, BATCH)):
                refused += await _record(store, part, done)
            files.refuse(refused, done)
            done.staged += count
            done.refused += len(refused)
            done.left_out += batch.count - len(batch.numbers) - len(batch.refused)
            done.rows += batch.count
            save_progress(files.state, done)
            if whole.share is not None:
                bar.total = round(whole.last / max(whole.share, 0.01))
            bar.update(batch.count)


async def _record(store: OnlineStore, events: dict[int, Event], done: ImportedEvents) -> list[dict[str, object]]:
    """Record events, and say which are refused."""
    refused = []
    for number, result in zip(events, await store.record_events(list(events.values())), strict=True):
        if isinstance(result, EventConflict):
            refused.append(refusal(number, "event_id", str(result)))
            continue
        if isinstance(result, StoreError):
            raise result
        done.duplicates += result.duplicate
        done.recorded += not result.duplicate
    return refused


async def _publish(
    settings: Settings,
    store: OnlineStore,
    files: _Files,
    done: ImportedEvents,
    staged: StagedHistory,
    show_progress: bool,
) -> None:
    """The history into the log, and the features made anew from all there is.

    It starts again from its beginning after a kill. What is in the log by then is not written again.
    """
    client, keys, log = store.client, store.keys, EventLog(settings.log_dir)
    async with maintenance(client, keys, "import", LOCK_WAIT_S) as lock:
        await drain(client, keys, log, lock)  # what came by the streams must be known as said before
        if done.published_ms is None:
            done.published_ms = clock.now_ms()
            done.seeded = await read_seeded(client, keys)
            done.report_bytes = files.report.stat().st_size if files.report.exists() else 0
            save_progress(files.state, done)
        if files.report.exists():
            os.truncate(files.report, done.report_bytes)
        for partition in range(keys.partitions):
            await lock.check()
            found = await asyncio.to_thread(staged.publish, log, partition, done.published_ms)
            done.recorded += found.recorded
            done.duplicates += found.duplicates
            done.refused += len(found.conflicts)
            conflicts = [refusal(row, "event_id", conflict_words(event_id)) for row, event_id in found.conflicts]
            files.refuse(conflicts, done)
        with_data = done.seeded not in (None, NO_DATA)
        dataset = await asyncio.to_thread(load_dataset, processed_dir(settings), False) if with_data else None
        await mark_seeded(client, keys, None)
        with tqdm(desc="features", unit=" events", disable=not show_progress) as bar:
            await rebuild(store, log, dataset, lock, bar.update)
        await mark_seeded(client, keys, done.seeded)


def _keep_until(report: Path, done: ImportedEvents) -> None:
    """Leave what the report says of rows that are done: the others come again."""
    if report.exists():
        before = {name: first - 1 for first, name in done.files}
        lines = report.read_text().splitlines(keepends=True)
        told = ((line, json.loads(line)) for line in lines)
        kept = [line for line, one in told if before.get(one.get("file"), 0) + one["row"] <= done.rows]
        report.write_text("".join(kept))


def save_progress(path: Path, done: ImportedEvents) -> None:
    """Write how far an import has come, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({name: value for name, value in vars(done).items() if name != "begun_at"}))
    temporary.replace(path)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.import_events",
        description=__doc__,
        epilog=COLUMNS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", help="a table of events: CSV, JSON lines or Parquet, a folder of such, or an address")
    parser.add_argument("--map", type=Path, help="a map of the columns, as of make up MAP=")
    options = parser.parse_args(argv)
    try:
        done, report = asyncio.run(
            import_events(load_settings(), options.file, options.map, sys.stderr.isatty(), print)
        )
    except StoreError as error:
        print(f"import_events: {error}; start it again to go on where it stopped", file=sys.stderr)
        return 1
    except (DataError, SettingsError) as error:
        print(f"import_events: {error}", file=sys.stderr)
        return 1
    print(_told(done, options.file, report))
    if done.refused:
        print(f"reasons: {report}")
    return 0


def _told(done: ImportedEvents, file: str, report: Path) -> str:
    """What this attempt did, or found done."""
    counts = f"{done.recorded} events recorded, {done.duplicates} were there already, {done.refused} rows refused"
    counts += f", {done.left_out} left out by the map" if done.left_out else ""
    if done.begun_at == 0:
        return counts
    if done.begun_at < done.rows:
        return f"went on after row {done.begun_at}; over all attempts: {counts}"
    state = report.with_name(report.name.removesuffix(REPORT_END) + STATE_END)
    return f"nothing to do: {file} was imported before ({counts}); delete {state} to import it again"
