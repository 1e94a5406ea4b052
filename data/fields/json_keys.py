"""Keys that come twice in one JSON object. Readers of JSON keep the last value and drop the others without a word, so
such an object is refused.

Reading with a look at every key costs three times as much as reading without. So what was read is written again first:
where no key was dropped it holds as many colons as the text did.
"""

import json
from typing import Any

import orjson


class _Repeating(dict[str, Any]):
    """An object whose text names the key `twice` more than once."""

    twice = ""


def without_repeats(text: bytes, content: Any) -> bool:
    """Whether no object in JSON text names a key twice, as far as a quick look tells: False may be a false alarm.

    Args:
        content: what was read from the text.
    """
    if b"\\" in text:  # a colon, too, may be written as an escape
        return False
    try:
        return text.count(b":") == orjson.dumps(content).count(b":")
    except TypeError:  # a whole number of more than 64 bits, which orjson does not write
        return False


def marked(text: bytes, content: Any) -> Any:
    """The content of JSON text, so that `repeated_key` finds in it which keys come twice."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError):  # more digits or brackets than this reader takes: nothing of ours has them
        return content


def repeated_key(content: Any) -> str | None:
    """Where a key comes twice in what `marked` read, as in `filters.exclude_items`; None where none does."""
    waiting = [("", content)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, _Repeating):
            return f"{path}{value.twice}"
        if isinstance(value, dict):
            waiting += [(f"{path}{key}.", inner) for key, inner in value.items() if isinstance(inner, dict | list)]
        elif isinstance(value, list):
            waiting += [(f"{path}{at}.", inner) for at, inner in enumerate(value) if isinstance(inner, dict | list)]
    return None


def key_twice(content: Any) -> str | None:
    """The key that comes twice in the object itself, whatever it holds."""
    return content.twice if isinstance(content, _Repeating) else None


def words_of(key: str) -> str:
    """What is said of a key that comes twice."""
    return f"the key {key!r} stands twice in one object; give it once"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeating = _Repeating(found)
    seen: set[str] = set()
    repeating.twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return repeating
