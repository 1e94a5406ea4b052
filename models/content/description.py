"""What is written of an item, as the inputs of a content map: words, keywords and numbers."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from data.fields.attributes import MAX_VECTOR, AttributeType, Schema, Value

TEXT_READ = 500
"""Characters of a text that are read: an item's first sentences, which bounds memory and time."""
YEAR = "year"
_NUMBERS: tuple[AttributeType, ...] = ("number", "time")
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
    length: int = Field(0, ge=0, le=MAX_VECTOR, description="of a vector")


def content_fields(schema: Schema, items: Iterable[Description] = ()) -> tuple[ContentField, ...]:
    """All attributes of the items; a vector is as long as most of those that the items have."""
    lengths: dict[str, Counter[int]] = {name: Counter() for name, kind in schema.items() if kind == "vector"}
    for item in items if lengths else ():
        for name, counts in lengths.items():
            if isinstance(value := item.attributes.get(name), list):
                counts[len(value)] += 1
    return tuple(
        ContentField(name=name, type=kind, length=max(lengths[name], key=lengths[name].__getitem__, default=0))
        if kind == "vector"
        else ContentField(name=name, type=kind)
        for name, kind in schema.items()
    )


def number_names(fields: tuple[ContentField, ...]) -> list[str]:
    """Names of the numbers, the year first."""
    return [YEAR, *(field.name for field in fields if field.type in _NUMBERS)]


def vector_length(fields: tuple[ContentField, ...]) -> int:
    """Numbers of all vectors of an item."""
    return sum(field.length for field in fields)


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


def words_of(item: Description, fields: tuple[ContentField, ...]) -> list[str]:
    """The distinct words of the title and of the texts, in small letters; no word holds a space. In the order in which
    they stand, so that sums over them are the same in every process."""
    texts = [item.title]
    for field in fields:
        value = item.attributes.get(field.name)
        if field.type == "text" and isinstance(value, str):
            texts.append(value)
    return list(dict.fromkeys(word for text in texts for word in _WORD.findall(text[:TEXT_READ].casefold())))


def numbers_of(item: Description, fields: tuple[ContentField, ...]) -> list[float]:
    """The numbers in the order of `number_names`, NaN where there is none; times in milliseconds."""
    found = [float("nan") if item.year is None else float(item.year)]
    for field in fields:
        if field.type in _NUMBERS:
            value = item.attributes.get(field.name)
            plain = isinstance(value, int | float) and not isinstance(value, bool)
            found.append(float(value) if plain else float("nan"))  # type: ignore[arg-type]
    return found


def vectors_of(item: Description, fields: tuple[ContentField, ...]) -> list[float]:
    """The vectors one after another, `vector_length` numbers; NaN in place of one that is missing or of another
    length."""
    found: list[float] = []
    for field in fields:
        value = item.attributes.get(field.name)
        numbers = [entry for entry in value if not isinstance(entry, str)] if isinstance(value, list) else []
        found += numbers if len(numbers) == field.length else [float("nan")] * field.length
    return found
