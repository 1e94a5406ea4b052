"""Which data set an evaluation is of: the imported one, a built-in one by name, a prepared folder, or any table."""

import hashlib
from pathlib import Path
from typing import Literal

from configs.groups.data_settings import Data
from configs.settings import Settings, with_preset
from data.builtin.complete_journey import NAME as COMPLETE_JOURNEY
from data.dataset import META, DataError, DatasetMeta, processed_dir, read_description
from data.prepare import MOVIELENS, prepare, wanted_name

FOLDER = "evaluation_data"
_MOVIELENS: Literal["movielens-100k"] = "movielens-100k"
_COMPLETE_JOURNEY: Literal["complete-journey"] = "complete-journey"
BUILTIN = {
    _MOVIELENS: Data(dataset=_MOVIELENS),
    MOVIELENS: Data(dataset=_MOVIELENS),
    COMPLETE_JOURNEY: Data(dataset=_COMPLETE_JOURNEY),
}


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
    own = (
        settings.state_dir / FOLDER / hashlib.sha256(repr((given, map_file, items, users, preset)).encode()).hexdigest()
    )
    folder = Path(given)
    if (folder / META).is_file():
        _link(own / "processed", folder)
        return _of(settings, own, Data(), preset)
    if given in BUILTIN:
        data = BUILTIN[given]
        if _name(processed_dir(settings)) == wanted_name(settings.model_copy(update={"data": data}), None):
            return _of(settings, settings.data_dir, Data(), preset)
    elif not folder.exists() and not folder.suffix and "/" not in given:
        raise DataError(f"--data: there is no {given!r}; give a table, a prepared folder, or {', '.join(BUILTIN)}")
    else:
        values = {"source": given, "map": map_file, "items": items, "users": users, "events": preset}
        data = Data.model_validate({name: value for name, value in values.items() if value is not None})
    (settings.data_dir / "raw").mkdir(parents=True, exist_ok=True)
    _link(own / "raw", settings.data_dir / "raw")  # what was fetched before need not be fetched again
    prepare(settings.model_copy(update={"data_dir": own, "data": data}))
    return _of(settings, own, data, preset)


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target.resolve())


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
