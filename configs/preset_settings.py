"""What a preset of the domain sets beside the meaning of events, and which preset a data set was imported with."""

import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)
PRESETS_DIR = Path(__file__).resolve().parent / "presets"


def preset_settings(preset: str) -> dict[str, dict[str, Any]]:
    """Settings by group and field; empty for a preset that is unknown or cannot be read, which whoever reads the event
    types reports."""
    path = PRESETS_DIR / f"{preset}.yaml"
    if "/" in preset or not path.is_file():
        return {}
    try:
        found = yaml.safe_load(path.read_text())
    except yaml.YAMLError:
        return {}
    return found.get("settings") or {} if isinstance(found, dict) else {}


def kept_preset(processed: Path) -> str | None:
    """The preset that the imported data set names; None where it names none or there is no data set."""
    try:
        found = json.loads((processed / "dataset.json").read_bytes()).get("preset")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def with_preset_of(settings: Model, kept: str | None) -> Model:
    """The settings with what the preset sets where the user set nothing.

    Args:
        settings: all of them, by groups.
        kept: the preset that counts where the settings name none.

    Raises:
        ValueError: the preset sets what is no setting, or a value that it cannot have.
    """
    data: BaseModel = settings.data  # type: ignore[attr-defined]
    if "events" not in data.model_fields_set and kept is not None:
        settings = settings.model_copy(update={"data": _unset_copy(data, {"events": kept})})
    preset = str(settings.data.events)  # type: ignore[attr-defined]
    changed: dict[str, BaseModel] = {}
    for name, fields in preset_settings(preset).items():
        group = getattr(settings, name, None)
        if not isinstance(group, BaseModel) or not set(fields) <= set(type(group).model_fields):
            raise ValueError(f"configs/presets/{preset}.yaml: settings: there is no {name}: {fields}")
        checked = type(group).model_validate({**group.model_dump(), **fields})
        fresh = {field: getattr(checked, field) for field in fields if field not in group.model_fields_set}
        changed[name] = _unset_copy(group, fresh)
    return settings.model_copy(update=changed) if changed else settings


def _unset_copy(group: Model, values: dict[str, Any]) -> Model:
    """A copy with other values, which do not count as set by the user."""
    copy = group.model_copy(update=values)
    copy.model_fields_set.difference_update(set(values) - group.model_fields_set)
    return copy
