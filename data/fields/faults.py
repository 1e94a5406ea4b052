"""What pydantic found wrong, as the field and a sentence that names it: the same over HTTP and for files."""

import re
from collections.abc import Sequence
from typing import Any


def first_fault(errors: Sequence[Any]) -> tuple[str | None, str]:
    """Field and words of the first of the errors that pydantic lists."""
    first = errors[0]
    path = [str(part) for part in first["loc"]]
    if len(path) > 1 and path[0] in ("body", "query", "path"):  # the place in a request, in front of the field
        path = path[1:]
    elif path == ["body"]:
        path = []
    if first["type"] == "json_invalid":
        return None, f"the body is not valid JSON: {first['msg'].removeprefix('Invalid JSON: ')}"
    field = ".".join(path) or None
    if first["type"] == "extra_forbidden":
        return field, f"unknown field {field!r}; leave it out"
    if first["type"] == "missing":
        return field, f"{field} is required"
    if first["type"] == "string_unicode":
        return field, f"{field or 'the name of a field'}: holds half of a character, as of an emoji that was cut"
    words = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return field, f"{field or 'the body'}: give an object"
    words = re.sub(r"^(?:Input|String|List|Dictionary|Tuple) should", "should", words)
    if field is None and (named := re.match(r"([a-z_]+): ", words)):
        # A check over several fields names the one that it blames.
        return named[1], words
    return field, f"{field or 'the body'}: {words}"
