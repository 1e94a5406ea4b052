"""`python -m data.prepare`: have the data set ready, whatever was there before.

Does nothing when a complete data set is in place and its source did not change.
"""

import sys
import time
from pathlib import Path

from configs.settings import Settings, SettingsError, load_settings
from data.dataset import DataError, DatasetMeta, read_meta, write_dataset
from data.download import DownloadError, download, download_wheel
from data.movielens import open_source, parse

GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
GROUPLENS_MD5 = "0e33842e24a9c977be4e0107933c0723"
RECBOLE = ("recbole", "1.2.1")
RECBOLE_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"


def processed_dir(settings: Settings) -> Path:
    """Where the canonical data set lies."""
    return settings.data_dir / "processed"


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


def prepare(settings: Settings) -> tuple[DatasetMeta, bool]:
    """Import the data set if it is not there yet.

    Returns:
        what there is, and whether it was imported just now.

    Raises:
        DataError: the source is damaged; what was there before stays.
        DownloadError: no source can be reached.
    """
    target = processed_dir(settings)
    try:
        present = read_meta(target)
    except DataError:
        present = None
    own = settings.data.source
    if present is not None and own is None:
        return present, False
    path, source = (own, own.name) if own is not None else fetch(settings.data_dir / "raw")
    files = open_source(path)
    if present is not None and present.source_hash == files.sha256:
        return present, False
    meta = write_dataset(target, parse(files), "ml-100k", source, files.sha256, ("int", "int"))
    return meta, True


def main() -> int:
    """Entry point; exit code 1 with one plain line when it cannot be done."""
    started = time.perf_counter()
    try:
        meta, imported = prepare(load_settings())
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
