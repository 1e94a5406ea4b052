"""JSON text that no reader takes: what of it can be read all the same, and which field is at fault."""

import json
import re
from collections.abc import Container

DEPTH = 20
"""Brackets in one another that are read; no field of ours has as many."""
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)
_KEY = re.compile(r'"([A-Za-z_][A-Za-z_0-9]*)"\s*:\s*')
_KEYS_TRIED = 50
_DIGITS = 4300
"""Python reads no whole number of more digits, so that a short text cannot take long."""
_STRING_OR_NUMBER = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[0-9]{4301,}(?![0-9.eE])', re.DOTALL)
_TOO_LONG = re.compile(rb'"([A-Za-z_][A-Za-z_0-9]*)"\s*:\s*-?[0-9]{4301}')


def shallow(text: bytes) -> bytes:
    """JSON text without what lies deeper than `DEPTH` brackets in one another, so that one value that is too deep does
    not make all the rest unreadable. That value is left as a list or object, which the check of its field refuses."""
    parts: list[bytes] = []
    level = kept = 0
    for token in _TOKEN.finditer(text):
        first = token[0][:1]
        if first in b"[{":
            level += 1
            if level == DEPTH + 1:
                parts.append(text[kept : token.end()])
        elif first in b"]}":
            if level == DEPTH + 1:
                kept = token.start()
            level -= 1
    return b"".join(parts) + (text[kept:] if level <= DEPTH else b"")


def shortened(text: bytes) -> bytes:
    """JSON text whose whole numbers of more digits than are read have as many as are, so that one of them does not make
    all the rest unreadable. No range of a field holds either of the two."""
    return _STRING_OR_NUMBER.sub(lambda found: found[0] if found[0][:1] == b'"' else found[0][:_DIGITS], text)


def field_at_fault(text: bytes, known: Container[str]) -> str | None:
    """The field whose value makes the text invalid JSON; None where it is no value of a known field.

    Args:
        known: the names of fields.
    """
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        read, rest = error.doc[: error.pos], error.doc[error.pos :]
    except UnicodeDecodeError as error:
        read, rest = text[: error.start].decode(errors="replace"), ""
    except RecursionError:
        return None
    except ValueError:  # Python reads no whole number of more digits
        found = _TOO_LONG.search(text)
        name = found[1].decode() if found else ""
        return name if name in known else None
    else:
        return None
    for key in list(_KEY.finditer(read))[: -_KEYS_TRIED - 1 : -1]:
        if key[1] in known and _cut_off(read[key.end() :], rest):
            return key[1]
    return None


def _cut_off(value: str, rest: str) -> bool:
    """Whether a value is not whole yet where the fault is, or the fault sticks to it, as in `5.`."""
    try:
        _, end = json.JSONDecoder().raw_decode(value)
    except ValueError:
        return True
    except RecursionError:
        return False
    return end == len(value) and (rest[:1].isalnum() or rest[:1] == ".")
