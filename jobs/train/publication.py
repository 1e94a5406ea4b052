"""What a finished training tells the registry, kept on disk until the registry has taken it.

A training must not be lost because the registry is away: the bundle and the slot do without it, and the next training
delivers what is still pending.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from data.dataset import DataError


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrialRecord(_Part):
    """One trial of the search: a child run in the registry."""

    number: int
    parameters: dict[str, float]
    metrics: dict[str, float]
    seconds: float
    error: str | None = None


class Publication(_Part):
    """One training: a parent run in the registry, a child for each trial, and the model version that it registers."""

    version: str
    uri: str
    manifest: str
    parameters: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    trials: list[TrialRecord]
    started_ms: int
    finished_ms: int


def keep_pending(pending_dir: Path, publication: Publication) -> Path:
    """Write the publication down, before the registry is tried."""
    pending_dir.mkdir(parents=True, exist_ok=True)
    path = pending_dir / f"{publication.version}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(publication.model_dump_json(indent=2))
    partial.rename(path)
    return path


def read_pending(pending_dir: Path) -> list[tuple[Path, Publication]]:
    """What was not delivered yet, oldest first.

    Raises:
        DataError: a file is damaged; names it.
    """
    found = []
    for path in sorted(pending_dir.glob("*.json")):
        try:
            found.append((path, Publication.model_validate_json(path.read_bytes())))
        except ValidationError as error:
            raise DataError(f"{path}: it is not a publication; delete it to go on without: {error}") from error
    return found
