"""Ids of users, items, events and lists: whole numbers or texts, compared by their text."""

import re
from typing import Any

MAX_CHARS = 200
_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
# They cannot be seen, so that two ids that look the same are two users: soft hyphen, zero-width spaces and joiners,
# marks of direction, byte order mark.
_UNSEEN = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
# Nor can these, but they have their place beside others, as in an emoji: fillers, the empty cell of Braille, the joiner
# of marks, selectors of variants, tags; and what Unicode says is no character. An id of nothing else looks empty.
_BLANK = re.compile(
    r"[\s\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufdd0-\ufdef\ufe00-\ufe0f\uffa0\ufff0-\uffff"
    + "\U000e0000-\U000e0fff"
    + "".join(chr(plane + last) for plane in range(0x10000, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))
    + "]+"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# A URL's path cannot hold them: clients and proxies take them for steps between folders.
_PATH_STEPS = frozenset((".", ".."))


def check_id(value: Any) -> int | str:
    """The id as it was given, if new data may hold it. Raises ValueError with the reason."""
    found = check_stored_id(value)
    if isinstance(found, str):
        if found != found.strip():
            raise ValueError("must not begin or end with a space")
        if not found.isascii() and _BLANK.fullmatch(found):
            raise ValueError(f"must hold a character that can be seen, not U+{ord(found[0]):04X} alone")
        if not found.isascii() and (unseen := _UNSEEN.search(found)):
            raise ValueError(f"must not contain characters that cannot be seen, as U+{ord(unseen[0]):04X}")
    return found


def check_stored_id(value: Any) -> int | str:
    """The id as it was given, if it can ever have been one: earlier versions took ids with spaces around them and with
    characters that cannot be seen, and whoever they name can still be looked up and erased.

    Raises:
        ValueError: it is no id; says why.
    """
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
    if "\ufffd" in value:
        raise ValueError("holds bytes that are not UTF-8")
    if value in _PATH_STEPS:
        raise ValueError("must not be a dot or two dots, which no address can hold")
    return value


def check_label(value: str) -> str:
    """The text, if it can be read on a page: a title, a category, a keyword. Raises ValueError."""
    check_text(value)
    if _CONTROL.search(value):
        raise ValueError("must not contain control characters")
    if not _BLANK.sub("", _UNSEEN.sub("", value)):
        raise ValueError("must not be empty")
    return value


def check_text(value: str) -> str:
    """The text, if it is one that UTF-8 can write. Raises ValueError."""
    if not value.isascii() and _SURROGATE.search(value):
        raise ValueError("holds half of a character, as of an emoji that was cut")
    return value
