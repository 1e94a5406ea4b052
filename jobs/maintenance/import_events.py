"""Imports events from a CSV, JSON lines or Parquet file. `python -m jobs.import_events FILE`

Each row takes the way of an event that came over HTTP. An import that was interrupted goes on where it stopped when it
is started again; rows that are sent twice count once. Refused rows are listed, with reasons, in a report.
"""

import argparse
import asyncio
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path

from tqdm import tqdm

from configs import clock
from configs.event_types import load_event_types
from configs.settings import Settings, SettingsError, load_settings
from data.dataset import DataError
from data.event_file import Row, is_typed, read_rows
from features.items.catalogue import Catalogue, Item
from features.recording.event import Event
from features.recording.event_request import EventError, EventRules
from features.recording.online_store import OnlineStore
from features.recording.row_event import row_event
from features.redis.errors import EventConflict, StoreError
from features.redis.identity import store_identity
from features.redis.session import store_session
from jobs.maintenance.import_ledger import REPORT_END, STATE_END, ledger_of

BATCH = 1000
COLUMNS = """\
columns, or fields of JSON lines:
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
class Imported:
    """Counts of an import, over all its attempts; kept beside the report, so that it can go on."""

    rows: int = 0
    recorded: int = 0
    duplicates: int = 0
    refused: int = 0
    finished: bool = False
    begun_at: int = 0
    """Rows that earlier attempts had done when this one began."""


async def import_events(settings: Settings, path: Path, show_progress: bool = False) -> tuple[Imported, Path]:
    """Import a file.

    Returns:
        The counts, and the report of refused rows: one JSON object a line with `row`, `field` and `reason`. A file that
        was imported to its end before is not imported again.

    Raises:
        DataError: the file cannot be read at all.
        StoreError: the store failed; start again to go on.
    """
    rows = read_rows(path)
    folder = settings.state_dir / "imports"
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as file:
        digest = await asyncio.to_thread(hashlib.file_digest, file, "sha256")
    async with store_session(settings) as (client, keys):
        identity = await store_identity(client, keys)
        state, report = ledger_of(folder, path.stem, digest.hexdigest(), identity)
        done = Imported(**json.loads(state.read_bytes())) if state.exists() else Imported()
        done.begun_at = done.rows
        if done.finished:
            return done, report
        _keep_until(report, done.rows)
        types = load_event_types(settings.data.events)
        rules = EventRules(types, settings.store.max_future_s, settings.data.open_catalogue)
        store = OnlineStore(client, keys, settings.store, types)
        await store.prepare()
        catalogue = Catalogue(client, store.keys)
        await catalogue.load()
        remaining = islice(rows, done.rows, None)
        with tqdm(desc=path.name, unit=" rows", initial=done.rows, disable=not show_progress) as bar:
            while batch := list(islice(remaining, BATCH)):
                events, refused = _sort_out(batch, is_typed(path), rules, catalogue.items)
                results = await store.record_events(list(events.values()))
                for number, result in zip(events, results, strict=True):
                    if isinstance(result, EventConflict):
                        refused.append(_refusal(number, "event_id", str(result)))
                        continue
                    if isinstance(result, StoreError):
                        raise result
                    done.duplicates += result.duplicate
                    done.recorded += not result.duplicate
                refused.sort(key=itemgetter("row"))
                with report.open("a") as file_out:
                    file_out.writelines(json.dumps(row) + "\n" for row in refused)
                done.refused += len(refused)
                done.rows += len(batch)
                save_progress(state, done)
                bar.update(len(batch))
        done.finished = True
        save_progress(state, done)
        return done, report


def _sort_out(
    batch: list[tuple[int, Row]], typed: bool, rules: EventRules, items: Mapping[str, Item]
) -> tuple[dict[int, Event], list[dict[str, object]]]:
    """The events in the rows by row number, and a line of the report for each row that is no event."""
    now_ms = clock.now_ms()
    events: dict[int, Event] = {}
    refused: list[dict[str, object]] = []
    for number, row in batch:
        if isinstance(row, DataError):
            refused.append(_refusal(number, None, str(row)))
            continue
        try:
            events[number] = row_event(row, number, typed, rules, items, now_ms)
        except EventError as error:
            refused.append(_refusal(number, error.field, str(error)))
    return events, refused


def _refusal(number: int, field: str | None, reason: str) -> dict[str, object]:
    return {"row": number, "field": field, "reason": reason}


def _keep_until(report: Path, row: int) -> None:
    """Leave what the report says of rows up to this one: the others come again."""
    if report.exists():
        kept = [line for line in report.read_text().splitlines(keepends=True) if json.loads(line)["row"] <= row]
        report.write_text("".join(kept))


def save_progress(path: Path, done: Imported) -> None:
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
    parser.add_argument("file", type=Path, help="CSV with a header, JSON lines, or Parquet")
    options = parser.parse_args(argv)
    try:
        done, report = asyncio.run(import_events(load_settings(), options.file, sys.stderr.isatty()))
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


def _told(done: Imported, file: Path, report: Path) -> str:
    """What this attempt did, or found done."""
    counts = f"{done.recorded} events recorded, {done.duplicates} were there already, {done.refused} rows refused"
    if done.begun_at == 0:
        return counts
    if done.begun_at < done.rows:
        return f"went on after row {done.begun_at}; over all attempts: {counts}"
    state = report.with_name(report.name.removesuffix(REPORT_END) + STATE_END)
    return f"nothing to do: {file} was imported before ({counts}); delete {state} to import it again"
