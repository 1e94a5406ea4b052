"""Ids of users, items, events and lists: whole numbers or texts, compared by their text."""

import re
from typing import Any

MAX_CHARS = 200
_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# A URL's path cannot hold them: clients and proxies take them for steps between folders.
_PATH_STEPS = frozenset((".", ".."))


def check_id(value: Any) -> int | str:
    """The id as it was given. Raises ValueError with the reason."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("give a whole number or a text")
    if isinstance(value, int):
        if abs(value) >= 2**63:
            raise ValueError("a whole number must fit into 64 bits")
        return value
    if not value.strip():
        raise ValueError("must not be empty")
    if len(value) > MAX_CHARS:
        raise ValueError(f"at most {MAX_CHARS} characters")
    if _UNFIT.search(value):
        check_text(value)
        raise ValueError("must not contain control characters")
    if value in _PATH_STEPS:
        raise ValueError("must not be a dot or two dots, which no address can hold")
    return value


def check_text(value: str) -> str:
    """The text, if it is one that UTF-8 can write. Raises ValueError."""
    if not value.isascii() and _SURROGATE.search(value):
        raise ValueError("holds half of a character, as of an emoji that was cut")
    return value
