"""`python -m jobs.inspect_data FILE [--items FILE]`: what an import would read, and the state of the data.

Reads all rows as `make up DATA=FILE` would, with the same map and the same refusals, and keeps nothing but the report
of refused rows.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from configs.settings import SettingsError, load_settings
from data.dataset import DataError
from data.mapping.import_tables import import_tables
from data.mapping.plan import Sources, make_plan
from data.prepare import told
from data.sources.addresses import atomic_parts
from data.survey import survey


def inspect(sources: Sources, data_dir: Path, report: Path) -> list[str]:
    """The map and the state of the data, line by line.

    Args:
        data_dir: where there is room for the data set, which is written and removed again.
        report: where refused rows are written, if there are any.

    Raises:
        DataError: a source cannot be read, or it is not clear what its columns hold.
    """
    plan = make_plan(sources)
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=".inspect-") as folder:
        target = Path(folder) / "processed"
        with tqdm(desc="reading", unit=" rows", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
            found = import_tables(plan, target, report, bar.update)
        time = plan.chosen.interactions.time
        lines = survey(target).lines(dated=not (time.rows or time.order))
        return [*plan.lines, "", f"{found.read:,} rows read", *lines, *told(found)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 with plain lines when it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m jobs.inspect_data", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("events", metavar="FILE", help="a table of events: a file, a folder or an address")
    parser.add_argument("--items", help="a table of items")
    parser.add_argument("--users", help="a table of users")
    parser.add_argument("--map", type=Path, help="a map of the columns")
    parser.add_argument("--preset", help="what the events mean; guessed if left out")
    given = parser.parse_args(arguments)
    try:
        settings = load_settings()
        parts = atomic_parts(given.events)
        sources = Sources(
            parts.get("inter", given.events),
            given.items or parts.get("item"),
            given.users or parts.get("user"),
            given.map,
            given.preset,
        )
        report = settings.state_dir / "imports" / f"refused-{sources.dataset_name()}-inspected.jsonl"
        for line in inspect(sources, settings.data_dir, report):
            print(line)
    except (DataError, SettingsError) as error:
        print(f"inspect_data: {error}", file=sys.stderr)
        return 1
    return 0
