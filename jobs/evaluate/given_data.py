"""Which data set an evaluation is of: the imported one, a built-in one by name, a prepared folder, or any table."""

import hashlib
from pathlib import Path

from configs.groups.data_settings import Data
from configs.settings import Settings, with_preset
from data.builtin.complete_journey import NAME as COMPLETE_JOURNEY
from data.dataset import META, DataError, DatasetMeta, processed_dir, read_description
from data.prepare import MOVIELENS, prepare

FOLDER = "evaluation_data"
BUILTIN = {"movielens-100k": "movielens-100k", MOVIELENS: "movielens-100k", COMPLETE_JOURNEY: COMPLETE_JOURNEY}


def settings_for(
    settings: Settings,
    given: str | None,
    map_file: str | None = None,
    items: str | None = None,
    users: str | None = None,
    preset: str | None = None,
) -> Settings:
    """The settings with this data set as the imported one, and what its preset sets.

    A table is imported beside the stack's own data set, into the state folder, which nothing else reads from there.

    Args:
        given: a built-in name, a folder with `dataset.json`, or a table as `make up DATA=` takes it; None for the data
            set that is imported.

    Raises:
        DataError: it cannot be read, or it is not clear what its columns hold.
        DownloadError: a built-in one cannot be fetched.
    """
    if given is None:
        return settings
    folder = Path(given)
    if (folder / META).is_file():
        folder = folder.resolve()
        if folder.name != "processed":
            raise DataError(f"{folder}: a prepared data set lies in a folder named `processed`")
        return _of(settings, folder.parent, Data(), preset)
    if given in BUILTIN:
        if _name(processed_dir(settings)) in (given, MOVIELENS if BUILTIN[given] != COMPLETE_JOURNEY else given):
            return _of(settings, settings.data_dir, Data(), preset)
        data = Data(dataset=BUILTIN[given])  # type: ignore[arg-type]
    else:
        if not folder.exists() and "://" not in given:
            raise DataError(f"--data: there is no {given}; give a table, a prepared folder, or {', '.join(BUILTIN)}")
        values = {"source": given, "map": map_file, "items": items, "users": users, "events": preset}
        data = Data(**{name: value for name, value in values.items() if value is not None})  # type: ignore[arg-type]
    digest = hashlib.sha256(repr((given, map_file, items, users, preset)).encode()).hexdigest()[:12]
    own = settings.state_dir / FOLDER / digest
    own.mkdir(parents=True, exist_ok=True)
    raw = own / "raw"
    if not raw.exists():
        (settings.data_dir / "raw").mkdir(parents=True, exist_ok=True)
        raw.symlink_to((settings.data_dir / "raw").resolve())  # what was fetched before need not be fetched again
    prepare(settings.model_copy(update={"data_dir": own, "data": data}))
    return _of(settings, own, data, preset)


def _of(settings: Settings, data_dir: Path, data: Data, preset: str | None) -> Settings:
    """The settings of the same state folder, with the data set in `data_dir` and what its preset sets."""
    if preset is not None:
        data = data.model_copy(update={"events": preset})
        data.model_fields_set.add("events")
    return with_preset(settings.model_copy(update={"data_dir": data_dir, "data": data}))


def _name(directory: Path) -> str | None:
    try:
        found: DatasetMeta = read_description(directory)
    except DataError:
        return None
    return found.name
