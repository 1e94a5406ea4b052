"""A guess: a part of a map, in the form of the map file, and questions where it is not clear."""

from dataclasses import dataclass, field
from typing import Any

from data.dataset import DataError
from data.mapping.conversions import OBJECT
from data.mapping.sample import Sample


@dataclass(frozen=True)
class Question:
    """What a guess leaves open: the field, why, and what the map file may say, best first."""

    field: str
    why: str
    answers: list[Any]


@dataclass
class Guess:
    """A part of a map as far as it is clear; `notes` are told to people."""

    fields: dict[str, Any]
    questions: list[Question] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def put_in_order(self, order: list[str]) -> None:
        """Put the fields in this order; unknown ones, which the check of the map names, come last."""
        place = {name: number for number, name in enumerate(order)}
        self.fields = dict(sorted(self.fields.items(), key=lambda entry: place.get(entry[0], len(order))))


def check_columns(sample: Sample, given: dict[str, Any], part: str) -> None:
    """Whether the columns that a map names are there and hold no objects. Raises `DataError` that names the one."""
    told = [(name, column) for name, value in given.items() if name != "read" for column in named_columns(value)]
    attributes = given.get("attributes")
    for name, kind in attributes.items() if isinstance(attributes, dict) else ():
        column = kind.get("column") if isinstance(kind, dict) else None
        told.append((f"attributes.{name}", column or name))
    for name, column in told:
        if column in sample.nested:
            raise DataError(f"{part}.{name}: {sample.address}: column {column} holds {OBJECT}")
        if column not in sample.columns:
            raise DataError(
                f"{part}.{name}: {sample.address} has no column {column!r}; it has {', '.join(sample.columns)}"
            )


def named_columns(value: Any) -> list[str]:
    """The columns that a field of a map names."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [column for column in value if isinstance(column, str)]
    if isinstance(value, dict):
        return [*named_columns(value.get("column")), *named_columns(value.get("columns"))]
    return []
