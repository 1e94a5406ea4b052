"""Candidate generation: from one user's interest to the best items that may be shown.

Sources, in the order in which they are asked:

    fold_in    the user's history, solved against the item factors at request time
    trained    the user vector of the last training, when no history is at hand
    content    an item that the model has not seen, scored by the vector that follows from what is written of it
    category   the same by the mean factors of its categories, in a model that learned nothing from what is written
    trending   decayed popularity over all users, live
    popular    number of users in the training data
    newest     latest additions to the catalogue
    repeat     what the user had before and may have again
    follows    what comes most often after the user's latest items
    neighbour  what the users of the latest items took up as well
    near       what others took up within minutes of the latest items, counted live
    sequence   the sequence of the user's latest events, in a sequence model, instead of fold_in

Of repeat, follows, neighbour and near there are some only where a model's training found that they help its ranker.

A score is comparable within its source only: a share of the leader's popularity for trending and popular, the age
rank's reciprocal for newest, an inner product for all others.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import partial
from typing import NamedTuple

import numpy as np

from models.bundle.reading import Bundle
from models.relations.more_sources import NO_MORE, more_candidates
from models.retrieval.best_allowed import best_allowed, first_free, top
from models.retrieval.bundle_index import index_of
from models.retrieval.near_items import NearItems
from models.retrieval.query import Filter, Query
from models.retrieval.shelf import Shelf
from models.retrieval.user_vectors import user_model, user_vectors
from models.retrieval.whole_catalogue import top_k
from models.sequence.encoder import SequenceEncoder


class Source(IntEnum):
    """Where a candidate came from; the name is what the API shows."""

    FOLD_IN = 0
    TRAINED = 1
    CATEGORY = 2
    TRENDING = 3
    POPULAR = 4
    NEWEST = 5
    CONTENT = 6
    REPEAT = 7
    FOLLOWS = 8
    NEIGHBOUR = 9
    NEAR = 10
    SEQUENCE = 11


# To ask an enumeration for one of its members takes longer than most of what a candidate takes.
_FOLD_IN, _TRAINED, _TRENDING = (int(source) for source in (Source.FOLD_IN, Source.TRAINED, Source.TRENDING))
_EMPTY = np.empty(0, np.int64)
FURTHER = {"repeats": Source.REPEAT, "follows": Source.FOLLOWS, "neighbours": Source.NEIGHBOUR, "near": Source.NEAR}
"""The source of what each of `models.relations.more_sources` gives."""
_HEAD = 6  # times as many trending items as are wanted are looked at first


class Candidates(NamedTuple):
    """Positions (k,) int64, scores (k,) float32, sources (k,) uint8, best first.

    Attributes:
        folded: how many, from the first, are scored by a vector folded in from the user's history: those are what a
            learned ranker orders. What follows them only fills the list.
    """

    items: np.ndarray
    scores: np.ndarray
    sources: np.ndarray
    cold_start: bool = False
    folded: int = 0


class CandidateModel:
    """One model version, ready to answer. Holds the only copy of the factors in its process.

    Args:
        bundle: the verified bundle.
        prior_weight: pull towards the mean user for short histories, times the regularisation.
    """

    def __init__(self, bundle: Bundle, prior_weight: float) -> None:
        manifest = bundle.manifest
        self.version = manifest.version
        self.manifest = manifest
        self.item_factors = bundle.item_factors
        self.user_factors = bundle.user_factors
        self.item_counts = bundle.item_counts
        self.user_model = user_model(bundle, prior_weight)
        sequential = isinstance(self.user_model, SequenceEncoder)
        self.sequence_length = self.user_model.length if isinstance(self.user_model, SequenceEncoder) else 0
        self._history_source = Source.SEQUENCE if sequential else Source.FOLD_IN
        self.index = index_of(bundle)
        self.content = bundle.content
        self._new_source = Source.CATEGORY if self.content is None else Source.CONTENT
        self.n_items = len(bundle.item_factors)
        # Nothing speaks for the others: their factors are zero, which would beat every negative score.
        self._spoken_for = np.asarray(bundle.item_factors.any(axis=1))
        if not sequential:
            self._spoken_for |= bundle.item_counts > 0
        self._norms = np.linalg.norm(bundle.item_factors, axis=1)
        # A learned ranker is given what it learned from: behind the best by the factors, what is popular just now.
        self._trending = manifest.ranker.trending if manifest.ranker is not None else 0
        self.more = manifest.ranker.more if manifest.ranker is not None else NO_MORE
        self._relations = bundle.ranking.relations if bundle.ranking is not None else None

    def retrieve(self, queries: Sequence[Query], shelf: Shelf, near: NearItems | None = None) -> list[Candidates]:
        """Answer a batch. Every list is full when enough items may be shown, whatever the filters.

        For a model with a learned ranker a user's n best by the factors are followed by trending items and by what the
        further sources give, with the user's own scores.

        Args:
            near: the live near counts; None where the model does without.
        """
        vectors, folded = user_vectors(self.user_model, queries)
        sources = np.where(folded, self._history_source, _TRAINED).astype(np.uint8)
        for row, query in enumerate(queries):
            if not folded[row] and query.trained_user >= 0:
                vectors[row] = self.user_factors[query.trained_user]
                folded[row] = True
            elif not folded[row] and len(query.new_items):
                has = shelf.estimated.rows[query.new_items - self.n_items] >= 0
                estimated = query.new_weights[has] @ self.factors_of(query.new_items[has], shelf)
                if estimated.any():  # else nothing that is said of them is known of an item of the model
                    vectors[row] = estimated / query.new_weights[has].sum()
                    sources[row] = self._new_source
                    folded[row] = True
        filters = [Filter(query, shelf) for query in queries]
        personal = np.flatnonzero(folded)
        ranked: dict[int, Candidates] = {}
        if len(personal):
            places = personal.tolist()
            asked = [queries[row] for row in places], [filters[row] for row in places]
            scores, items = best_allowed(self.index, self.item_factors, self._spoken_for, vectors[personal], *asked)
            new_scores = vectors[personal] @ shelf.estimated.factors.T
            new_scores[:, ~shelf.estimated.known] = -np.inf
            for position, row in enumerate(places):
                personal_list = self._with_new_items(
                    items[position],
                    scores[position],
                    new_scores[position],
                    int(sources[row]),
                    queries[row],
                    filters[row],
                    shelf,
                )
                if sources[row] == _FOLD_IN:
                    given = vectors[row], filters[row], shelf, queries[row], near
                    personal_list = self._with_more(personal_list, *given)
                ranked[row] = personal_list
        nothing = Candidates(_EMPTY, np.empty(0, np.float32), np.empty(0, np.uint8), cold_start=True)
        return [_fill(ranked.get(row, nothing), query.n, filters[row], shelf) for row, query in enumerate(queries)]

    def explain(self, query: Query, items: np.ndarray, reasons: int) -> list[list[tuple[int, float]]]:
        """The history items that contributed most to each item's score.

        Args:
            items: (k,) positions of a `Shelf`; those unknown to the model get no reasons.
            reasons: how many history items to name for each, at most.

        Returns:
            For each item, (position, share of the sum of all positive contributions), largest first; nothing from a
            sequence model, whose scores do not fall apart into such terms.
        """
        explained: list[list[tuple[int, float]]] = [[] for _ in items]
        known = np.flatnonzero(items < self.n_items)
        if isinstance(self.user_model, SequenceEncoder) or not len(query.items) or not len(known):
            return explained
        parts = self.user_model.contributions(query.items, query.weights, items[known])
        for row, place in enumerate(known.tolist()):
            positive = np.maximum(parts[row], 0.0)
            total = float(positive.sum())
            if total > 0:
                best = np.argsort(-positive, kind="stable")[:reasons]
                found = [(int(query.items[item]), float(positive[item]) / total) for item in best]
                explained[place] = [(item, share) for item, share in found if share > 0]
        return explained

    def similar(self, position: int, n: int, shelf: Shelf) -> tuple[np.ndarray, np.ndarray]:
        """The n visible items whose factors have the largest cosine to those of the item at `position`, those that
        the model has not seen among them.

        Returns:
            positions (k,) int64 and cosines (k,) float32, largest first; nothing for an item without factors.
        """
        vector = self.factors_of(np.array([position]), shelf)[0]
        length = float(np.linalg.norm(vector))
        if length == 0:
            return _EMPTY, np.empty(0, np.float32)
        new = shelf.estimated
        norms = np.concatenate([self._norms, np.linalg.norm(new.factors, axis=1)])
        products = np.concatenate([self.item_factors @ vector, new.factors @ vector])
        cosines = products / length / np.maximum(norms, np.finfo(np.float32).tiny)
        items = np.concatenate([np.arange(self.n_items), new.items])
        cosines[~shelf.visible[items]] = -np.inf
        cosines[self.n_items :][~new.known] = -np.inf
        cosines[items == position] = -np.inf
        best = top(cosines, n)
        best = best[np.isfinite(cosines[best])]
        return items[best], cosines[best].astype(np.float32)

    def factors_of(self, items: np.ndarray, shelf: Shelf) -> np.ndarray:
        """(k, f) float32: trained factors, or the estimate for items that the model has not seen; zeros without one."""
        trained = items < self.n_items
        if trained.all():
            return self.item_factors[items]
        factors = np.zeros((len(items), self.item_factors.shape[1]), np.float32)
        factors[trained] = self.item_factors[items[trained]]
        rows = shelf.estimated.rows[items[~trained] - self.n_items]
        factors[np.flatnonzero(~trained)[rows >= 0]] = shelf.estimated.factors[rows[rows >= 0]]
        return factors

    def _with_new_items(
        self,
        items: np.ndarray,
        scores: np.ndarray,
        new_scores: np.ndarray,
        source: int,
        query: Query,
        allowed: Filter,
        shelf: Shelf,
    ) -> Candidates:
        """The query's n best of `items` and of those that have estimated factors, with `new_scores` (e,)."""
        sources = np.full(len(items), source, np.uint8)
        if not len(new_scores):
            return Candidates(items, scores, sources)
        new = shelf.estimated.items
        # So many of the best hold enough nearly always; of tens of thousands it would take long to ask for each.
        best = top_k(new_scores[None], min(len(new), query.n + len(query.exclude)))[0]
        best = best[best >= 0]
        best = best[allowed.allows(new[best])]
        if len(best) < query.n:
            possible = np.flatnonzero(np.isfinite(new_scores) & allowed.allows(new))
            best = possible[top(new_scores[possible], query.n)]
        items = np.concatenate([items, new[best]])
        scores = np.concatenate([scores, new_scores[best]])
        sources = np.concatenate([sources, np.full(len(best), self._new_source, np.uint8)])
        order = np.lexsort((items, -scores))[: query.n]
        return Candidates(items[order], scores[order], sources[order])

    def _with_more(
        self,
        found: Candidates,
        vector: np.ndarray,
        allowed: Filter,
        shelf: Shelf,
        query: Query,
        near: NearItems | None,
    ) -> Candidates:
        """Candidates, followed by the most popular items of the last days and by those of the further sources that are
        not among them, as in training."""
        more: list[tuple[int, np.ndarray]] = []
        if self._trending and len(shelf.trending):
            hot = self._hot(shelf.trending[: _HEAD * self._trending], found, allowed)
            if len(hot) < self._trending:  # nearly always the head holds enough
                hot = self._hot(shelf.trending, found, allowed)
            more.append((_TRENDING, hot))
        if self.more.total:
            taken = np.concatenate([found.items, *(items for _, items in more)])

            def may_come(items: np.ndarray) -> np.ndarray:
                may = allowed.allows(items) & ~_among(items, taken)
                trained = items < self.n_items
                may[trained] &= self._spoken_for[items[trained]]
                return may

            nearest = None if near is None else partial(near.nearest, query.latest_rows)
            how = may_come, nearest, lambda some: some >= self.n_items
            given = more_candidates(self.more, self._relations, query.recent, query.past, *how)
            more += [(FURTHER[name], items) for name, items in given]
        if more:
            items = np.concatenate([items for _, items in more])
            sources = np.concatenate([np.full(len(items), source, np.uint8) for source, items in more])
            found = Candidates(
                np.concatenate([found.items, items]),
                np.concatenate([found.scores, self.factors_of(items, shelf) @ vector]),
                np.concatenate([found.sources, sources]),
            )
        return found._replace(folded=len(found.items))

    def _hot(self, trending: np.ndarray, found: Candidates, allowed: Filter) -> np.ndarray:
        return first_free(trending, allowed.allows(trending), found.items, self._spoken_for, self._trending)


def _fill(found: Candidates, n: int, allowed: Filter, shelf: Shelf) -> Candidates:
    """Top up with trending, popular and newest items, in this order, each labelled."""
    missing = n - len(found.items)
    if missing <= 0:
        return found
    newest_scores = 1.0 / (1.0 + np.arange(len(shelf.newest), dtype=np.float32))
    items, scores, sources = [found.items], [found.scores], [found.sources]
    taken = found.items
    for source, more, more_scores in (
        (Source.TRENDING, shelf.trending, shelf.trending_scores),
        (Source.POPULAR, shelf.popular, shelf.popular_scores),
        (Source.NEWEST, shelf.newest, newest_scores),
    ):
        if missing <= 0:
            break
        keep = np.flatnonzero(allowed.allows(more) & ~np.isin(more, taken))[:missing]
        items.append(more[keep])
        scores.append(more_scores[keep].astype(np.float32))
        sources.append(np.full(len(keep), source, np.uint8))
        taken = np.concatenate([taken, more[keep]])
        missing -= len(keep)
    return Candidates(
        np.concatenate(items), np.concatenate(scores), np.concatenate(sources), found.cold_start, found.folded
    )


def _among(items: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(k,) bool. As np.isin, without its overhead on a few hundred numbers."""
    mask = np.zeros(max(int(items.max(initial=-1)), int(others.max(initial=-1))) + 1, bool)
    mask[others] = True
    return mask[items]
