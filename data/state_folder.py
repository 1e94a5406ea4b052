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
    return _marked(settings, "name") or (None if present is None else present.name)


def _marked(settings: Settings, field: str) -> str | None:
    try:
        found = json.loads((settings.state_dir / MARK).read_text()).get(field)
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


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


def check_preset(settings: Settings, present: DatasetMeta | None, wanted: str | None) -> None:
    """Raises `DataError` where the state folder was filled under another preset: its features count events otherwise.

    Args:
        present: the data set on disk, whose preset counts where an earlier version left no mark.
        wanted: the preset that is asked for now; None where nobody asks for one.
    """
    if wanted is None or not _holds(settings):
        return
    before = _marked(settings, "preset") or (None if present is None else present.preset)
    if before is None or before == wanted:
        return
    state, data = settings.state_dir, settings.data_dir
    own = f"RAYCOMMEND_STATE_DIR={state}-{wanted} RAYCOMMEND_DATASET_DIR={data}-{wanted}"
    raise DataError(
        f"{state} was filled under the preset {before}, by which its features and models count events; under {wanted} "
        f"the same events mean something else.\n"
        f"  To go on: leave out PRESET= (or RAYCOMMEND_DATA_EVENTS, or preset in the map).\n"
        f"  To have {wanted}, give it folders of its own:\n"
        f"    {own} make up PRESET={wanted} ...\n"
        f"  To give up what is there: make down, make clean, and again."
    )


def mark(settings: Settings, meta: DatasetMeta) -> None:
    """Remember the data set and the preset; the same name with more rows is the same data set."""
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    chosen = "events" in settings.data.model_fields_set
    preset = settings.data.events if chosen or meta.preset is None else meta.preset
    kept = {"name": meta.name, "fingerprint": meta.fingerprint, "source": meta.source, "preset": preset}
    text = json.dumps(kept, indent=2)
    partial = settings.state_dir / f".{MARK}"
    partial.write_text(text + "\n")
    partial.rename(settings.state_dir / MARK)


def _holds(settings: Settings) -> list[str]:
    """In words, what the folder holds that came from a data set."""
    found = {"store": "events and features", "log": "a log of events", "bundles": "models"}
    return [words for name, words in found.items() if _full(settings.state_dir / name)]


def _full(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
