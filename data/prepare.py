"""`python -m data.prepare`: have the data set ready, whatever was there before.

Does nothing when a complete data set is in place and its source did not change.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from configs.settings import Settings, SettingsError, load_settings
from data.builtin.complete_journey import NAME as COMPLETE_JOURNEY
from data.builtin.complete_journey import fetch as fetch_complete_journey
from data.builtin.download import DownloadError, download, download_wheel
from data.builtin.movielens import is_movielens, open_source, parse
from data.dataset import ITEMS, USERS, DataError, DatasetMeta, processed_dir, read_meta
from data.dataset_writer import DatasetWriter, write_dataset
from data.mapping.import_tables import ImportedTables, import_tables
from data.mapping.plan import Sources, make_plan, read_options
from data.sources.addresses import atomic_parts, is_sql
from data.sources.open_table import open_table
from data.state_folder import check_preset, check_same, mark

GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
GROUPLENS_MD5 = "0e33842e24a9c977be4e0107933c0723"
RECBOLE = ("recbole", "1.2.1")
RECBOLE_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
MOVIELENS = "ml-100k"
EMPTY = "none"
Say = Callable[[str], None]


def fetch(raw_dir: Path) -> tuple[Path, str]:
    """The data set's archive and where it came from: its home first, then the copy in a package.

    Raises:
        DownloadError: no source can be reached; names them all.
    """
    archive, wheel = raw_dir / "ml-100k.zip", raw_dir / f"{RECBOLE[0]}-{RECBOLE[1]}-py3-none-any.whl"
    if wheel.is_file() and not archive.is_file():
        # Fetched before from the second source: no need to knock at the first again.
        return download_wheel(*RECBOLE, wheel, RECBOLE_SHA256), f"PyPI package {RECBOLE[0]} {RECBOLE[1]}"
    try:
        return download(GROUPLENS_URL, archive, "md5", GROUPLENS_MD5), GROUPLENS_URL
    except DownloadError as first:
        print(f"{first}; taking the copy in the package {RECBOLE[0]} instead", file=sys.stderr, flush=True)
        try:
            return download_wheel(*RECBOLE, wheel, RECBOLE_SHA256), f"PyPI package {RECBOLE[0]} {RECBOLE[1]}"
        except DownloadError as second:
            raise DownloadError(
                f"no source of MovieLens 100K can be reached ({first}; {second}). "
                "Give your own copy with DATA=/path/to/ml-100k.zip"
            ) from second


def check_source(settings: Settings) -> None:
    """Whether the tables that the settings name can be read at all, before anything else is said of them.

    Raises:
        DataError: one is not there, or is a web page, an archive or the like.
    """
    if settings.data.source is None or is_movielens(settings.data.source):
        return
    sources = own_sources(settings)
    given = sources.map_given()
    for part, address in (("interactions", sources.events), ("items", sources.items), ("users", sources.users)):
        if address is not None and not is_sql(address):
            open_table(address, read_options((given.get(part) or {}).get("read"), str(sources.map), part))


def present_data(settings: Settings) -> DatasetMeta | None:
    """The data set that is in place, if it is complete."""
    try:
        return read_meta(processed_dir(settings))
    except DataError:
        return None


def wanted_name(settings: Settings, present: DatasetMeta | None) -> str:
    """The name of the data set that the settings ask for. Raises `DataError` for a map that cannot be read."""
    data = settings.data
    if data.source is not None:
        return MOVIELENS if is_movielens(data.source) else own_sources(settings).dataset_name()
    if data.dataset is None:
        return MOVIELENS if present is None else present.name
    return {"movielens-100k": MOVIELENS}.get(data.dataset, data.dataset)


def wanted_preset(settings: Settings) -> str | None:
    """The preset that the settings or the map ask for; None for neither. Raises `DataError` as `wanted_name` does."""
    data = settings.data
    if "events" in data.model_fields_set:
        return data.events
    if data.source is None or is_movielens(data.source):
        return None
    given = own_sources(settings).map_given().get("preset")
    return given if isinstance(given, str) else None


def own_sources(settings: Settings) -> Sources:
    """The tables that the settings name, those of a folder in RecBole's form among them."""
    data = settings.data
    assert data.source is not None
    parts = atomic_parts(data.source)
    return Sources(
        parts.get("inter", data.source),
        data.items or parts.get("item"),
        data.users or parts.get("user"),
        data.map,
        data.events if "events" in data.model_fields_set else None,
    )


def prepare(settings: Settings, say: Say = print) -> tuple[DatasetMeta, bool]:
    """Import the data set if it is not there yet.

    Args:
        say: is told the map, before anything is written, and what was refused.

    Returns:
        what there is, and whether it was imported just now.

    Raises:
        DataError: the source is damaged, or it is not clear what its columns hold; what was there before stays.
        DownloadError: no source can be reached.
    """
    present, data, target = present_data(settings), settings.data, processed_dir(settings)
    if data.source is not None and not is_movielens(data.source):
        return _import(own_sources(settings), settings, present, say)
    if data.source is not None:
        return _movielens(Path(data.source), Path(data.source).name, target, present)
    if present is not None and (data.dataset is None or present.name == wanted_name(settings, present)):
        return present, False
    if data.dataset == COMPLETE_JOURNEY:
        return _import(fetch_complete_journey(settings.data_dir / "raw"), settings, present, say)
    if data.dataset == EMPTY:
        return write_empty(target, wanted_preset(settings)), True
    return _movielens(*fetch(settings.data_dir / "raw"), target, present)


def write_empty(target: Path, preset: str | None = None) -> DatasetMeta:
    """A data set without anything, to begin with: events and items come over HTTP.

    Args:
        preset: what these events will mean; None for that of the settings.
    """
    with DatasetWriter(target) as writer:
        return writer.finish(
            ITEMS.empty_table(),
            USERS.empty_table(),
            name=EMPTY,
            source="nothing: events and items come over HTTP",
            source_hash="",
            id_types=("str", "str"),
            preset=preset,
        )


def _movielens(path: Path, source: str, target: Path, present: DatasetMeta | None) -> tuple[DatasetMeta, bool]:
    files = open_source(path)
    if present is not None and present.source_hash == files.sha256:
        return present, False
    return write_dataset(target, parse(files), MOVIELENS, source, files.sha256, ("int", "int")), True


def _import(sources: Sources, settings: Settings, present: DatasetMeta | None, say: Say) -> tuple[DatasetMeta, bool]:
    if present is not None and present.source_hash == sources.digest():
        return present, False
    if present is not None and present.preset is not None and wanted_preset(settings) is None:
        # What was chosen once counts until another is; a guess must not take its place.
        if present.name == sources.dataset_name():
            sources = replace(sources, preset=present.preset)
        if present.source_hash == sources.digest():
            return present, False
    plan = make_plan(sources)
    for line in plan.lines:
        say(line)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    report = settings.state_dir / "imports" / f"refused-{plan.chosen.name}-{stamp}.jsonl"
    with tqdm(desc="import", unit=" rows", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
        found = import_tables(plan, processed_dir(settings), report, bar.update)
    for line in told(found):
        say(line)
    return found.meta, True


def told(found: ImportedTables) -> list[str]:
    """What people should know after an import: refusals with reasons, what was left out, what is odd."""
    lines = [f"note: {note}" for note in found.notes]
    lines += [f"left out by the map: {count:,} rows of type {word}" for word, count in found.left_out.most_common()]
    refused = found.refusals
    if refused.rows or refused.cells:
        cells = f"; {refused.cells:,} cells of the catalogue, whose rows are kept" if refused.cells else ""
        lines.append(f"refused: {refused.rows:,} rows{cells}")
        lines += [f"  {line}" for line in refused.summary()]
        lines.append(f"  each with its row, column and reason: {refused.path}")
    return lines


def main() -> int:
    """Entry point; exit code 1 with one plain line when it cannot be done."""
    started = time.perf_counter()
    try:
        settings = load_settings()
        present = present_data(settings)
        check_source(settings)
        check_same(settings, present, wanted_name(settings, present))
        check_preset(settings, present, wanted_preset(settings))
        meta, imported = prepare(settings)
        mark(settings, meta)
    except (DataError, DownloadError, SettingsError) as error:
        print(f"data: {error}", file=sys.stderr)
        return 1
    how = f"imported in {time.perf_counter() - started:.1f} s" if imported else "already there"
    print(
        f"data: {meta.name}, {meta.n_interactions:,} interactions of {meta.n_users:,} users with {meta.n_items:,} "
        f"items, from {meta.source}; {how}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
