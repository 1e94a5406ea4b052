"""The search space as data: `configs/search_space.yaml`, checked key by key."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.event_types import CONFIGS_DIR
from configs.settings import SettingsError

SPACE_FILE = CONFIGS_DIR / "search_space.yaml"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(_Part):
    """The values among which one parameter is searched."""

    log_uniform: tuple[float, float] | None = None
    choice: list[int | float] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "Range":
        if (self.log_uniform is None) == (self.choice is None):
            raise ValueError("give either log_uniform or choice")
        if self.log_uniform is not None and not 0 < self.log_uniform[0] < self.log_uniform[1]:
            raise ValueError("log_uniform needs 0 < low < high")
        if self.choice is not None and not self.choice:
            raise ValueError("choice needs at least one value")
        return self


class Parameters(_Part):
    regularization: Range
    alpha: Range
    weight_power: Range


class Point(_Part):
    regularization: float = Field(gt=0)
    alpha: float = Field(gt=0)
    weight_power: float = Field(ge=0, le=2)


class Iterations(_Part):
    """When a trial is judged, and when it is stopped."""

    step: int = Field(ge=1)
    most: int = Field(ge=1, le=1000)
    least_gain: float = Field(ge=0)

    @property
    def moments(self) -> list[int]:
        """Iterations after which a trial is judged, rising."""
        return [*range(self.step, self.most, self.step), self.most]


class SearchSpace(_Part):
    """`configs/search_space.yaml`; see there for each field."""

    parameters: Parameters
    start: list[Point]
    iterations: Iterations
    inner_splits: int = Field(ge=1)
    test_share: float = Field(gt=0, lt=1)
    cpus_per_trial: float = Field(gt=0)
    batch: int = Field(ge=1)


def load_search_space(path: Path = SPACE_FILE) -> SearchSpace:
    """Read the search space. Raises `SettingsError` naming the file and the key that is wrong."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{path.name}: it cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path.name}: it must hold keys and values, beginning with parameters:")
    try:
        return SearchSpace(**content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{path.name}: {where}: {first['msg']}") from error
