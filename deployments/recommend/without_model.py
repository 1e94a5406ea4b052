"""Lists while there is no model yet: what is popular now, then what is newest, without what the user had or refused."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from configs.event_types import EventTypes
from deployments.recommend.messages import Answer, Question, Reply
from features.items.catalogue import Item
from features.items.trending import Popularity
from features.users.history import decode_histories
from models.factors.interest import aggregate_interest
from models.retrieval.candidates import Source
from models.retrieval.exclusion import left_out

NO_MODEL = "none"
"""The model version of such a list."""
LOOKED_AT = 100_000
"""The newest items that are looked at for one list: looking at a million takes a second."""
_FEW = 1_000


class WithoutModel:
    """Answers from the catalogue and from what is popular; remembers which items are newest.

    Args:
        types: the meanings of events.
        item_id_type: "int" where item ids are shown as whole numbers, else "str".
    """

    def __init__(self, types: EventTypes, item_id_type: str) -> None:
        self._types = types
        self._item_id_type = item_id_type
        self._newest: list[tuple[int, str]] = []  # what items were created, as -ms, and their ids; some twice

    def take(self, items: Mapping[str, Item], changed: Sequence[Item]) -> None:
        """Follow a change of the catalogue.

        Args:
            items: the catalogue.
            changed: those of them that are new or other than before.
        """
        found = [_newness(item) for item in changed if item.recommendable]
        if len(found) <= _FEW:
            for one in found:
                place = bisect_left(self._newest, one)
                if self._newest[place : place + 1] != [one]:
                    self._newest.insert(place, one)
        else:
            self._newest += found
            self._newest.sort()
        if len(self._newest) > 2 * len(items):
            self._newest = sorted(_newness(item) for item in items.values() if item.recommendable)

    def forget(self) -> None:
        """There is a model now: nothing is remembered any more."""
        self._newest = []

    def reply(
        self, questions: Sequence[Question], items: Mapping[str, Item], version: int, popularity: Iterable[Popularity]
    ) -> Reply:
        """The answers to a batch.

        Args:
            items: the catalogue, as it was last taken.
            version: of the catalogue.
            popularity: what is popular; empty while it is not read.
        """
        return Reply(NO_MODEL, self._item_id_type, version, [self._answer(one, items, popularity) for one in questions])

    def _answer(self, question: Question, items: Mapping[str, Item], popularity: Iterable[Popularity]) -> Answer:
        left = self._left_out(question)
        found: dict[bytes, tuple[float, Source]] = {}
        for item_id, score, source in self._offered(popularity):
            if len(found) == question.n:
                break
            if item_id not in left and item_id not in found and _fits(items.get(item_id.decode()), question):
                found[item_id] = (score, source)
        return Answer(
            b"\n".join(found),
            np.array([score for score, _ in found.values()], "<f4").tobytes(),
            np.array([source for _, source in found.values()], np.uint8).tobytes(),
            cold_start=True,
        )

    def _offered(self, popularity: Iterable[Popularity]) -> Iterator[tuple[bytes, float, Source]]:
        for one in islice(popularity, 1):
            leader = float(one.weights.max(initial=0.0)) or 1.0
            for item_id, weight in zip(one.item_ids, one.weights.tolist(), strict=True):
                yield item_id, weight / leader, Source.TRENDING
        for _, text in islice(self._newest, LOOKED_AT):
            yield text.encode(), 0.0, Source.NEWEST

    def _left_out(self, question: Question) -> set[bytes]:
        """What the user refused, what the request leaves out, and what was seen where it asks for that."""
        histories = decode_histories([question.history])
        ids = histories.item_ids.split(b"\n") if len(histories.codes) else []
        place_of = {item_id: place for place, item_id in enumerate(dict.fromkeys(ids))}
        names = list(place_of)
        places = np.array([place_of[item_id] for item_id in ids], np.int64)
        rows = np.zeros(len(places), np.int64)
        codes = histories.codes
        # Both weightings refuse alike, and nothing else of the weights is used.
        interest = aggregate_interest(
            rows, places, histories.times_ms, codes, histories.values, self._types, "preference"
        )
        out = left_out(rows, places, codes, self._types, interest)
        left = {names[place] for place in out.refused_items.tolist()} | set(question.exclude_items)
        if question.exclude_seen:
            left |= {names[place] for place in out.seen_items.tolist()}
            left |= set(question.older_seen.split(b"\n")) if question.older_seen else set()
        return left


def _newness(item: Item) -> tuple[int, str]:
    return -item.created_ms, item.item_id


def _fits(item: Item | None, question: Question) -> bool:
    """Whether an item may be shown; one that the catalogue does not list has no categories."""
    if item is not None and not item.recommendable:
        return False
    categories = set(item.categories) if item is not None else set()
    if categories & set(question.exclude_categories):
        return False
    return question.include_categories is None or bool(categories & set(question.include_categories))
