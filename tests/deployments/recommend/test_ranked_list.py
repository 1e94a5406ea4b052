import tracemalloc
from typing import get_args

import numpy as np
import pytest

from deployments.http.schemas import Recommendation
from deployments.recommend.list_cache import ListCache, entry_bytes
from deployments.recommend.messages import Answer, Reply
from deployments.recommend.ranked_list import RankedList, dress, explore, rank
from features.items.catalogue import Item
from models.retrieval.candidates import Source

REPLY = Reply("v1", "int", 3, [])


def answer(n: int) -> Answer:
    scores = np.linspace(1, 0.1, n, dtype="<f4")
    ids = b"\n".join(str(item).encode() for item in range(n))
    factors = np.eye(n, dtype=np.float32)
    return Answer(ids, scores.tobytes(), bytes(n), False, n, factors.tobytes(), tuple(((b"7", 0.5),) for _ in range(n)))


def test_candidates_keep_their_order_and_are_cut() -> None:
    ranked = rank(REPLY, answer(10), None, 3, 0.0, pooled=True)
    assert ranked.item_ids == ["0", "1", "2"]
    assert [item_id for item_id, _ in ranked.pool] == [str(item) for item in range(2, 10)]
    assert ranked.sources == ["fold_in"] * 3


def test_no_candidates_give_an_empty_list() -> None:
    assert rank(REPLY, Answer(b"", b"", b"", True), None, 3, 0.5, pooled=True).item_ids == []


def test_logged_propensities_are_those_with_which_items_are_shown() -> None:
    """The estimates that are built on them would be wrong otherwise: 20,000 lists against what was logged."""
    share, pool = 0.4, 5
    ranked = rank(REPLY, answer(7), None, 3, 0.0, pooled=True)
    generator = np.random.default_rng(0)
    shown: dict[str, int] = {}
    logged: dict[str, float] = {}
    for _ in range(20_000):
        one = explore(ranked, share, generator)
        assert one.propensities is not None
        assert one.propensities[:2] == (1.0, 1.0)
        assert one.item_ids[:2] == ["0", "1"]
        shown[one.item_ids[-1]] = shown.get(one.item_ids[-1], 0) + 1
        logged[one.item_ids[-1]] = one.propensities[-1]
    assert len(shown) == pool
    assert sum(logged.values()) == pytest.approx(1)
    for item_id, propensity in logged.items():
        assert shown[item_id] / 20_000 == pytest.approx(propensity, abs=0.012)


def test_without_exploration_nothing_is_drawn() -> None:
    ranked = rank(REPLY, answer(7), None, 3, 0.0, pooled=False)
    assert explore(ranked, 0.0, np.random.default_rng(0)) is ranked


def test_an_answer_shows_titles_typed_ids_and_reasons() -> None:
    ranked = rank(REPLY, answer(3), None, 2, 0.0, pooled=False)
    [first, second] = dress(ranked, {"0": Item("0", "Zero", 1999, ("Drama",)), "7": Item("7", "Seven")}, explained=True)
    assert (first["item_id"], first["title"], first["genres"], first["rank"]) == (0, "Zero", ("Drama",), 1)
    assert first["reason"] == [{"item_id": 7, "title": "Seven", "share": 0.5}]
    assert (second["title"], second["genres"]) == ("1", [])
    assert "reason" not in dress(ranked, {}, explained=False)[0]


def some(name: str) -> RankedList:
    return rank(Reply(name, "int", 1, []), answer(1), None, 1, 0.0, pooled=False)


def test_the_cache_forgets_on_a_new_user_version_and_the_least_recently_used() -> None:
    cache = ListCache(2, 60, 10_000)
    cache.put(("a",), 1, some("a"))
    cache.put(("b",), 1, some("b"))
    assert cache.get(("a",), 1) == some("a")
    assert cache.get(("a",), 2) is None
    cache.put(("c",), 1, some("c"))
    assert cache.get(("b",), 1) is None
    assert cache.get(("a",), 1) is not None
    off = ListCache(0, 60, 10_000)
    off.put(("a",), 1, some("a"))
    assert off.get(("a",), 1) is None


def test_the_cache_keeps_within_its_bytes_however_long_the_questions_are() -> None:
    cache = ListCache(10_000, 60, 1_000_000)
    for number in range(100):
        cache.put(("u", f"{number:060000}"), 1, some("a"))
        assert cache.used_bytes <= 1_000_000
    assert 10 < len(cache) < 17
    assert cache.get(("u", f"{99:060000}"), 1) is not None
    cache.put(("u", "x" * 2_000_000), 1, some("a"))  # larger than all that may be kept: the others stay
    assert cache.get(("u", f"{99:060000}"), 1) is not None
    for _ in range(50):
        cache.put(("u", f"{99:060000}"), 1, some("a"))
    assert 10 < len(cache) < 17  # what is put again counts once


def test_the_size_of_an_entry_is_no_less_than_what_it_allocates() -> None:
    reply, texts = Reply("v1", "int", 1, []), answer(300)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = []
    for number in range(50):
        ranked = rank(reply, texts, None, 100, 0.0, pooled=True)
        kept.append(
            ((f"user {number}", "champion", "v1", 1, "q" * 1000 + str(number)), ranked._replace(shown=bytes(9000)))
        )
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.3 * sum(entry_bytes(*one) for one in kept) < used < sum(entry_bytes(*one) for one in kept)


def test_the_rankers_scores_decide_and_what_only_fills_the_list_stays_behind() -> None:
    candidates = answer(6)._replace(folded=4, sources=bytes([0, 0, 0, 3, 4, 4]))
    ranked = rank(REPLY, candidates, np.array([-3.0, 0.5, -1.0, 0.5], np.float32), 5, 0.0, pooled=False)
    assert ranked.item_ids == ["1", "3", "2", "0", "4"]  # of equal scores, the one that retrieval put first
    assert ranked.scores[:4] == [0.5, 0.5, -1.0, -3.0]
    assert ranked.sources == ["fold_in", "trending", "fold_in", "fold_in", "popular"]


def test_diversity_reorders_only_what_the_ranker_scored() -> None:
    candidates = answer(5)._replace(folded=3, factors=np.array([[1, 0]] * 2 + [[0, 1]] * 3, np.float32).tobytes())
    ranked = rank(REPLY, candidates, np.array([3.0, 2.9, 1.0], np.float32), 5, 0.6, pooled=False)
    assert ranked.item_ids == ["0", "2", "1", "3", "4"]


def test_a_list_is_good_for_a_while_only() -> None:
    cache = ListCache(2, 0.0, 10_000)
    ranked = rank(REPLY, answer(3), None, 2, 0.0, pooled=False)
    cache.put(("u",), 1, ranked)
    assert cache.get(("u",), 1) is None


def test_every_source_is_one_that_the_answer_may_name() -> None:
    """A list with a source that the schema does not know fails where it is validated: in clients and generators."""
    named = set(get_args(Recommendation.model_fields["source"].annotation))
    assert named == {source.name.lower() for source in Source} | {"exploration"}
