import json

import orjson
from hypothesis import given
from hypothesis import strategies as st

from data.fields.json_keys import marked, repeated_key, without_repeats

TEXTS = st.text('ab:"\\é', max_size=3)
VALUES = st.recursive(
    TEXTS | st.integers(-(2**70), 2**70) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(TEXTS, inner), max_size=3).map(tuple),
    max_leaves=12,
)


def written(value: object) -> tuple[str, bool]:
    """JSON text of a value, whose objects are tuples of pairs, and whether any of these names a key twice."""
    if isinstance(value, tuple):
        parts = [(json.dumps(key, ensure_ascii=len(key) > 1), *written(inner)) for key, inner in value]
        twice = len({key for key, _ in value}) < len(value)
        text = ", ".join(f"{key} : {inner}" for key, inner, _ in parts)
        return f"{{{text}}}", twice or any(inner for *_, inner in parts)
    if isinstance(value, list):
        found = [written(inner) for inner in value]
        return f"[{','.join(text for text, _ in found)}]", any(twice for _, twice in found)
    return json.dumps(value, ensure_ascii=False), False


@given(VALUES)
def test_the_quick_look_misses_no_repeated_key(value: object) -> None:
    text, twice = written(value)
    body, content = text.encode(), json.loads(text)
    assert (repeated_key(marked(body, content)) is not None) == twice
    assert not (twice and without_repeats(body, content))


def test_the_quick_look_lets_plain_events_pass() -> None:
    body = b'{"user_id": "a:b", "item_id": 2, "timestamp": "2026-01-31T12:00:00Z", "context": {"x:y": 1.5}}'
    assert without_repeats(body, orjson.loads(body))
