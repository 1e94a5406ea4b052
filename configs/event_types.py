"""Event types and their confidence, read from `events.yaml` and a preset.

A confidence says how strongly one event speaks for interest in an item. Training and the fold-in at request
time both ask this module, so that the two can never disagree.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.settings import SettingsError

CONFIGS_DIR = Path(__file__).resolve().parent
Weighting = Literal["preference", "consumption"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Linear(_Part):
    per: float = Field(gt=0)
    max: float = Field(gt=0)


class ByValue(_Part):
    """A confidence that depends on the event's value: a step function or a capped line."""

    steps: list[tuple[float, float]] | None = None
    linear: Linear | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "ByValue":
        if (self.steps is None) == (self.linear is None):
            raise ValueError("give either steps or linear")
        if self.steps is not None:
            thresholds = [threshold for threshold, _ in self.steps]
            if not thresholds or thresholds != sorted(set(thresholds)):
                raise ValueError("steps need rising thresholds")
            if any(confidence < 0 for _, confidence in self.steps):
                raise ValueError("a confidence is at least 0")
        return self

    def at(self, values: np.ndarray) -> np.ndarray:
        """Confidences for `values` (n,), NaN where there is none; a missing value counts nothing."""
        known = np.nan_to_num(values, nan=-np.inf)
        if self.linear is not None:
            return np.clip(known / self.linear.per, 0.0, self.linear.max)
        assert self.steps is not None
        thresholds = np.array([threshold for threshold, _ in self.steps])
        confidences = np.array([0.0, *(confidence for _, confidence in self.steps)])
        return confidences[np.searchsorted(thresholds, known, side="right")]


class ValueRange(_Part):
    min: float
    max: float
    required: bool = False
    unit: str | None = None


Confidence = float | ByValue


class EventType(_Part):
    """One type of event. See the head of `events.yaml` for the meaning of each field."""

    code: int = Field(ge=1, le=255)
    preference: Confidence
    consumption: Confidence
    value: ValueRange | None = None
    seen: bool = True
    judgement: bool = False
    conversion: bool = False
    excludes: bool = False
    excludes_below: float | None = None


class EventTypes:
    """All event types, with their confidences as vector functions.

    Args:
        types: name -> `EventType`; the codes must differ.
    """

    def __init__(self, types: dict[str, EventType]) -> None:
        self.by_name = types
        self.names = {event_type.code: name for name, event_type in types.items()}
        if len(self.names) != len(types):
            raise SettingsError("events.yaml: two types share one code")
        self.judgement_codes = np.zeros(256, bool)
        self.seen_codes = np.zeros(256, bool)
        self._refused_below = np.full(256, -np.inf)  # a value below this refuses; no value is below -inf
        self._always_refused = np.zeros(256, bool)
        self._constant: dict[Weighting, np.ndarray] = {}
        self._by_value: dict[Weighting, list[tuple[int, ByValue]]] = {"preference": [], "consumption": []}
        for event_type in types.values():
            self.judgement_codes[event_type.code] = event_type.judgement
            self.seen_codes[event_type.code] = event_type.seen
            self._always_refused[event_type.code] = event_type.excludes
            if event_type.excludes_below is not None:
                self._refused_below[event_type.code] = event_type.excludes_below
        for weighting, by_value in self._by_value.items():
            constant = self._constant[weighting] = np.zeros(256, np.float32)
            for event_type in types.values():
                confidence: Confidence = getattr(event_type, weighting)
                if isinstance(confidence, ByValue):
                    by_value.append((event_type.code, confidence))
                else:
                    constant[event_type.code] = confidence

    def __getitem__(self, name: str) -> EventType:
        return self.by_name[name]

    def confidence(self, codes: np.ndarray, values: np.ndarray, weighting: Weighting) -> np.ndarray:
        """Confidence of each event.

        Args:
            codes: (n,) uint8, event type codes. An unknown code counts nothing.
            values: (n,) float, NaN where the event carries none.
            weighting: "preference" or "consumption".

        Returns:
            (n,) float32, all >= 0.
        """
        result = self._constant[weighting][codes]
        for code, confidence in self._by_value[weighting]:
            mask = codes == code
            if mask.any():
                result[mask] = confidence.at(values[mask])
        return result

    def is_refusal(self, codes: np.ndarray, values: np.ndarray) -> np.ndarray:
        """(n,) bool: the event is an explicit "no" (a dislike, a low rating)."""
        return self._always_refused[codes] | (values < self._refused_below[codes])


def _merge(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    return {name: {**fields, **patch.get(name, {})} for name, fields in base.items()}


def _patch(path: Path) -> dict[str, dict[str, Any]]:
    """What a preset's file says of types. Raises `SettingsError` for a file of another form."""
    try:
        found = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise SettingsError(f"{path.name}: it is not YAML: {error}") from error
    types = found.get("types") if isinstance(found, dict) else None
    if not isinstance(types, dict):
        raise SettingsError(f"{path.name}: there is no mapping `types`; without changes write types: {{}}")
    for name, fields in types.items():
        if not isinstance(fields, dict):
            raise SettingsError(f"{path.name}: {name}: give its fields, as {{seen: false}}")
    return types


@lru_cache
def load_event_types(preset: str = "movies") -> EventTypes:
    """Read `events.yaml` with a preset laid over it.

    Raises:
        SettingsError: no such preset, or a type or field in the files is wrong; names it.
    """
    path = CONFIGS_DIR / "presets" / f"{preset}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise SettingsError(f"no event preset {preset!r}; there are {known}")
    base = yaml.safe_load((CONFIGS_DIR / "events.yaml").read_text())["types"]
    patch = _patch(path)
    if unknown := set(patch) - set(base):
        raise SettingsError(f"{path.name} names unknown event types: {', '.join(sorted(unknown))}")
    types = {}
    for name, fields in _merge(base, patch).items():
        try:
            types[name] = EventType(**fields)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise SettingsError(f"events.yaml ({preset}): {name}.{where}: {first['msg']}") from error
    return EventTypes(types)
