"""Puts the items, or with --users the users, of a table into the store. `python -m jobs.import_items FILE`

What can be read is what `make up ITEMS=` reads. Columns of other names are taken by a map, by that of the data set
where it fits, or by a guess, which is shown. Each row takes the way of an item that came over HTTP: what it names is
replaced, others stay. Refused rows are listed, with column and reason, in a report. A table can be imported again any
time.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from configs import clock
from configs.settings import Settings, SettingsError, load_settings
from data.dataset import DataError, processed_dir
from data.imports.catalogue_file import CatalogueFile, Row
from features.items.attribute_schema import declare_attributes, read_schemas
from features.items.catalogue import put_items
from features.items.item_request import DescriptionError, checked_entry, checked_user
from features.redis.disk_space import require_room
from features.redis.errors import StoreError
from features.redis.layout import check_layout
from features.redis.session import store_session
from features.users.user_attributes import put_user_attributes

BATCH = 1000
REPORT_END = "-refused.jsonl"
COLUMNS = """\
columns, or fields of JSON lines, that need no map, of items:
  item_id, title            both there
  categories                a list, or parts with a | between them (see --separator)
  year, hidden              a whole number; true or false
of users:
  user_id
and of both, any attribute that the data set or the settings declare (data.item_attributes, data.user_attributes).

The report of refused rows lies in the folder `imports` of the state folder. More: docs/own-data.md
"""


@dataclass
class ImportedCatalogue:
    """Counts of an import."""

    rows: int = 0
    refused: int = 0

    @property
    def put(self) -> int:
        return self.rows - self.refused


async def import_items(
    settings: Settings,
    address: Path | str,
    users: bool = False,
    separator: str = "|",
    map_file: Path | None = None,
    show_progress: bool = False,
    show: Callable[[str], object] = lambda line: None,
) -> tuple[ImportedCatalogue, Path]:
    """Import a table of items, or of users.

    Args:
        separator: between the parts of a list in a cell, where no map says it.
        map_file: what the columns hold, where they have other names than the fields.
        show: told the map as it is used, before anything is put.

    Returns:
        The counts, and the report of refused rows: one JSON object a line with `row`, `column` and `reason`,
        and `file` where there are several.

    Raises:
        DataError: the file cannot be read at all, or the settings declare an attribute with another type than before.
        StoreError: the store failed; what was put is there, and the file may be imported again.
    """
    done = ImportedCatalogue()
    async with store_session(settings) as (client, keys):
        await check_layout(client, keys)
        declared = settings.data
        await declare_attributes(client, keys, declared.item_attributes, declared.user_attributes, "the settings")
        item_schema, user_schema = await read_schemas(client, keys)
        schema = user_schema if users else item_schema
        table = await asyncio.to_thread(
            CatalogueFile,
            str(address),
            "users" if users else "items",
            schema,
            separator,
            map_file,
            processed_dir(settings),
        )
        for line in table.lines:
            show(line)
        name = Path(table.name.partition("#")[0].split("?")[0]).stem
        report = settings.state_dir / "imports" / f"{name}{REPORT_END}"
        report.parent.mkdir(parents=True, exist_ok=True)

        def check(row: Row) -> Any:
            if users:
                return checked_user(row, schema)
            return checked_entry(row, schema, clock.now_ms())

        put: Callable[[list[Any]], Awaitable[object]] = (
            (lambda found: put_user_attributes(client, keys, dict(found)))
            if users
            else (lambda found: put_items(client, keys, found))
        )
        rows = table.rows()
        with tqdm(desc=name, unit=" rows", disable=not show_progress) as bar, report.open("w") as refused:
            while batch := list(islice(rows, BATCH)):
                require_room(settings)
                found = list(_sort_out(batch, check, refused))
                await put(found)
                done.rows += len(batch)
                done.refused += len(batch) - len(found)
                bar.update(len(batch))
    return done, report


def _sort_out(batch: Iterable[tuple[str, int, Row]], check: Callable[[Row], Any], refused: TextIO) -> Iterator[Any]:
    """What the rows describe; those that describe nothing get a line of the report."""
    for file, number, row in batch:
        column: str | None = None
        try:
            if isinstance(row, DataError):
                raise row
            yield check(row)
            continue
        except DescriptionError as error:
            column, reason = error.field and error.field.removeprefix("attributes."), str(error)
        except DataError as error:
            reason = str(error)
        told = {"file": file} if file else {}
        refused.write(json.dumps({**told, "row": number, "column": column, "reason": reason}) + "\n")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.import_items",
        description=__doc__,
        epilog=COLUMNS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", help="a table: CSV, JSON lines or Parquet, a folder of such, or an address")
    parser.add_argument("--map", type=Path, help="a map of the columns, as of make up MAP=")
    parser.add_argument("--users", action="store_true", help="the file describes users")
    parser.add_argument("--separator", default="|", help="what stands between the parts of a list in a cell")
    given = parser.parse_args(argv)
    if not given.separator:
        parser.error("--separator: give at least one character")
    try:
        settings = load_settings()
        done, report = asyncio.run(
            import_items(settings, given.file, given.users, given.separator, given.map, sys.stderr.isatty(), print)
        )
    except (StoreError, DataError, SettingsError) as error:
        print(f"import_items: {error}", file=sys.stderr)
        return 1
    print(f"{done.put} {'users' if given.users else 'items'} put, {done.refused} rows refused")
    if done.refused:
        print(f"reasons: {report}")
    return 0
