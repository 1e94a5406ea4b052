import numpy as np
import pytest

from configs.event_types import load_event_types
from deployments.recommend.messages import Question
from deployments.recommend.without_model import NO_MODEL, WithoutModel
from features.items.catalogue import Item
from features.items.trending import Popularity
from models.retrieval.candidates import Source

ITEMS = {
    item.item_id: item
    for item in (
        Item("old", "Old", None, ("a",), created_ms=1),
        Item("new", "New", None, ("b",), created_ms=9),
        Item("hot", "Hot", None, ("a",), created_ms=5),
        Item("away", "Away", None, ("a",), created_ms=20, hidden=True),
    )
}
POPULAR = [Popularity([b"hot", b"away", b"unlisted"], np.array([4.0, 3.0, 1.0]))]


def following() -> WithoutModel:
    found = WithoutModel(load_event_types(), "str")
    found.take(ITEMS, list(ITEMS.values()))
    return found


def listed(**changed: object) -> list[str]:
    fields = {
        "user_id": b"u",
        "history": None,
        "older_seen": None,
        "n": 10,
        "exclude_seen": True,
        "exclude_items": (),
        "include_categories": None,
        "exclude_categories": (),
    }
    question = Question(**{**fields, **changed})  # type: ignore[arg-type]
    reply = following().reply([question], ITEMS, 3, POPULAR)
    assert (reply.version, reply.catalogue_version) == (NO_MODEL, 3)
    [answer] = reply.answers
    assert answer.cold_start
    return answer.item_ids.decode().split("\n") if answer.item_ids else []


def test_what_is_popular_comes_first_and_then_what_is_newest() -> None:
    assert listed() == ["hot", "unlisted", "new", "old"]
    assert listed(n=3) == ["hot", "unlisted", "new"]


def test_scores_fall_and_sources_are_told() -> None:
    question = Question(b"u", None, None, 10, True, (), None, ())
    [answer] = following().reply([question], ITEMS, 1, POPULAR).answers
    assert np.frombuffer(answer.scores, "<f4").tolist() == [1.0, 0.25, 0.0, 0.0]
    assert [Source(code) for code in answer.sources] == [
        *(Source.TRENDING, Source.TRENDING),
        *(Source.NEWEST, Source.NEWEST),
    ]


def test_filters_and_what_was_seen_hold() -> None:
    assert listed(exclude_items=(b"hot",)) == ["unlisted", "new", "old"]
    assert listed(include_categories=("a",)) == ["hot", "old"]
    assert listed(exclude_categories=("a",)) == ["unlisted", "new"]
    assert listed(older_seen=b"new\nhot") == ["unlisted", "old"]
    assert listed(older_seen=b"new\nhot", exclude_seen=False) == ["hot", "unlisted", "new", "old"]


@pytest.mark.parametrize("few", [0, 1000], ids=["many at once", "few at once"])
def test_the_newest_follow_every_change(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.recommend.without_model._FEW", few)
    generator = np.random.default_rng(3)
    without, items = WithoutModel(load_event_types(), "str"), dict[str, Item]()
    for _ in range(60):
        numbers = np.unique(generator.integers(0, 30, 4)).tolist()
        # An item keeps the time at which it was created, whatever else is said of it later.
        changed = [Item(f"i{n}", "", created_ms=n // 3, hidden=bool(generator.random() < 0.3)) for n in numbers]
        items |= {item.item_id: item for item in changed}
        without.take(items, changed)
        question = Question(b"u", None, None, 100, True, (), None, ())
        [answer] = without.reply([question], items, 1, []).answers
        shown = [item for item in items.values() if not item.hidden]
        expected = [item.item_id for item in sorted(shown, key=lambda item: (-item.created_ms, item.item_id))]
        assert answer.item_ids.decode().split("\n") == (expected or [""])
