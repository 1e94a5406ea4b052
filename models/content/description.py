"""What is written of an item, as the inputs of a content map: words, keywords and numbers."""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from data.fields.attributes import AttributeType, Schema, Value

TEXT_READ = 500
"""Characters of a text that are read: an item's first sentences, which bounds memory and time."""
YEAR = "year"
Part = Literal["keyword", "keywords", "flag", "text", "number", "time", "vector"]
_NUMBERS: tuple[Part, ...] = ("number", "time")
_WORD = re.compile(r"[^\W_]+")


class Description(NamedTuple):
    """One item of the catalogue, as far as it speaks of what the item is."""

    title: str = ""
    year: int | None = None
    categories: tuple[str, ...] = ()
    attributes: Mapping[str, Value] = {}


NOTHING = Description()


class ContentField(BaseModel):
    """An attribute that is read beside title, year and categories."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    type: AttributeType


def content_fields(schema: Schema) -> tuple[ContentField, ...]:
    """All attributes of the items."""
    return tuple(ContentField(name=name, type=kind) for name, kind in schema.items())


def number_names(fields: tuple[ContentField, ...]) -> list[str]:
    """Names of the numbers, the year first."""
    return [YEAR, *(field.name for field in fields if field.type in _NUMBERS)]


def keywords_of(item: Description, fields: tuple[ContentField, ...]) -> Iterator[str]:
    """Categories, keywords and flags, each with the name of its field in front. A value of another type than the field
    has, as after the field was declared anew, is left away."""
    for category in item.categories:
        yield f"categories {category}"
    for field in fields:
        value = item.attributes.get(field.name)
        if (field.type == "keyword" and isinstance(value, str)) or (field.type == "flag" and isinstance(value, bool)):
            yield f"{field.name} {value}"
        elif field.type == "keywords" and isinstance(value, list):
            for entry in value:
                yield f"{field.name} {entry}"


def words_of(item: Description, fields: tuple[ContentField, ...]) -> set[str]:
    """The distinct words of the title and of the texts, in small letters; no word holds a space."""
    texts = [item.title]
    for field in fields:
        value = item.attributes.get(field.name)
        if field.type == "text" and isinstance(value, str):
            texts.append(value)
    return {word for text in texts for word in _WORD.findall(text[:TEXT_READ].casefold())}


def numbers_of(item: Description, fields: tuple[ContentField, ...]) -> list[float]:
    """The numbers in the order of `number_names`, NaN where there is none; times in milliseconds."""
    found = [float("nan") if item.year is None else float(item.year)]
    for field in fields:
        if field.type in _NUMBERS:
            value = item.attributes.get(field.name)
            plain = isinstance(value, int | float) and not isinstance(value, bool)
            found.append(float(value) if plain else float("nan"))  # type: ignore[arg-type]
    return found
