"""Which data set a state folder was filled from: its store, log and models must not be mixed with another one's."""

import json
from pathlib import Path

from configs.settings import Settings
from data.dataset import DataError, DatasetMeta

MARK = "dataset.json"


def filled_from(settings: Settings, present: DatasetMeta | None) -> str | None:
    """Name of the data set that the state folder was filled from; None where nothing is in it yet.

    Args:
        present: the data set on disk, which is the one where an earlier version left no mark.
    """
    if not _holds(settings):
        return None
    try:
        return str(json.loads((settings.state_dir / MARK).read_text())["name"])
    except (OSError, ValueError, KeyError):
        return None if present is None else present.name


def check_same(settings: Settings, present: DatasetMeta | None, wanted: str) -> None:
    """Raises `DataError` where the state folder was filled from another data set; says how to keep both."""
    before = filled_from(settings, present)
    if before is None or before == wanted:
        return
    kept = ", ".join(_holds(settings))
    state, data = settings.state_dir, settings.data_dir
    raise DataError(
        f"{state} was filled from the data set {before} and holds {kept} of it; with {wanted} they would be mixed.\n"
        f"  To keep both, give {wanted} folders of its own:\n"
        f"    RAYCOMMEND_STATE_DIR={state}-{wanted} RAYCOMMEND_DATASET_DIR={data}-{wanted} make up ...\n"
        f"  To give up what is there: make down, make clean, and again."
    )


def mark(settings: Settings, meta: DatasetMeta) -> None:
    """Remember the data set; the same name with more rows is the same data set."""
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = json.dumps({"name": meta.name, "fingerprint": meta.fingerprint, "source": meta.source}, indent=2)
    partial = settings.state_dir / f".{MARK}"
    partial.write_text(text + "\n")
    partial.rename(settings.state_dir / MARK)


def _holds(settings: Settings) -> list[str]:
    """In words, what the folder holds that came from a data set."""
    found = {"store": "events and features", "log": "a log of events", "bundles": "models"}
    return [words for name, words in found.items() if _full(settings.state_dir / name)]


def _full(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
