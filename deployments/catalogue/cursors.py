"""Cursors: where the next page of a list begins, as a text that clients give back as they got it."""

import base64
import binascii
import zlib
from typing import Any

import orjson

from deployments.http.errors import invalid_field


def write_cursor(question: str, place: Any) -> str:
    """The cursor after an entry.

    Args:
        question: what the list answers, in a text; the cursor is of no use for another.
        place: of the page's last entry, as JSON-ready values.
    """
    raw = orjson.dumps([zlib.crc32(question.encode()), place])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read_cursor(question: str, cursor: str) -> Any:
    """The place in a cursor. Raises ApiError 422 for a text that is no cursor, or the cursor of another question."""
    try:
        raw = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        mark, place = orjson.loads(raw)
    except (ValueError, TypeError, binascii.Error, UnicodeEncodeError):
        raise invalid_field("cursor: give next_cursor of the page before, or leave it out", "cursor") from None
    if mark != zlib.crc32(question.encode()):
        raise invalid_field("cursor: belongs to a list with another query or filter; leave it out", "cursor")
    return place
