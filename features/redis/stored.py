"""Reading records that another version of this program may have written.

During an upgrade, and after one that was taken back, the store holds fields that this version does not know. They are
left out and logged once: one such record must not keep a replica from following all the others.
"""

import logging
from collections.abc import Set
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

logger = logging.getLogger("ray.serve")
M = TypeVar("M", bound=BaseModel)
_told: set[tuple[str, str]] = set()


def read_record(model: type[M], raw: bytes) -> M:
    """The record without the fields that its model does not know. Raises `ValidationError` for any other fault."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        unknown = [one["loc"] for one in error.errors(include_url=False) if one["type"] == "extra_forbidden"]
        if not unknown:
            raise
    content = orjson.loads(raw)
    for *path, field in unknown:
        part = content
        for step in path:
            part = part[step]
        del part[field]
        _tell(model.__name__, str(field))
    return model.model_validate_json(orjson.dumps(content))


def known_fields(what: str, names: Set[str], content: dict[str, Any]) -> dict[str, Any]:
    """The fields of `content` that are among `names`."""
    if content.keys() <= names:
        return content
    for field in content.keys() - names:
        _tell(what, field)
    return {name: value for name, value in content.items() if name in names}


def _tell(what: str, field: str) -> None:
    if (what, field) not in _told:
        _told.add((what, field))
        logger.warning("a stored %s has the field %r, which this version does not know and leaves out", what, field)
