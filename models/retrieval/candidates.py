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

Of the last three there are some only where a model's training found that they help its ranker.

A score is comparable within its source only: an inner product for the first four and the last three, a share of the
leader's popularity for trending and popular, the age rank's reciprocal for newest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np

from models.bundle.reading import Bundle
from models.factors.fold_in import FoldIn
from models.relations.more_sources import NO_MORE, more_candidates
from models.retrieval.bundle_index import index_of
from models.retrieval.query import Filter, Query
from models.retrieval.shelf import Shelf


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


_EMPTY = np.empty(0, np.int64)
_FURTHER = {"repeats": Source.REPEAT, "follows": Source.FOLLOWS, "neighbours": Source.NEIGHBOUR}
_HEAD = 6  # times as many trending items as are wanted are looked at first


@dataclass(frozen=True)
class Candidates:
    """Positions (k,) int64, scores (k,) float32, sources (k,) uint8, best first.

    Attributes:
        folded: how many, from the first, are scored by a vector folded in from the user's history: those are what a
            learned ranker orders. What follows them only fills the list.
    """

    items: np.ndarray
    scores: np.ndarray
    sources: np.ndarray
    cold_start: bool = field(default=False)
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
        self.fold_in = FoldIn(
            bundle.item_factors,
            manifest.parameters.regularization,
            manifest.parameters.alpha,
            prior=bundle.mean_user,
            prior_weight=prior_weight,
            weight_power=manifest.parameters.weight_power,
        )
        self.index = index_of(bundle)
        self.content = bundle.content
        self._new_source = Source.CATEGORY if self.content is None else Source.CONTENT
        self.n_items = len(bundle.item_factors)
        # Nobody's events speak for the others: their factors are zero, which would beat every negative score.
        self._spoken_for = bundle.item_counts > 0
        self._norms = np.linalg.norm(bundle.item_factors, axis=1)
        # A learned ranker is given what it learned from: behind the best by the factors, what is popular just now.
        self._trending = manifest.ranker.trending if manifest.ranker is not None else 0
        self.more = manifest.ranker.more if manifest.ranker is not None else NO_MORE
        self._relations = bundle.ranking.relations if bundle.ranking is not None else None

    def retrieve(self, queries: Sequence[Query], shelf: Shelf) -> list[Candidates]:
        """Answer a batch. Every list is full when enough items may be shown, whatever the filters.

        For a model with a learned ranker a user's n best by the factors are followed by trending items and by what the
        further sources give, with the user's own scores.
        """
        vectors, folded = self.fold_in.solve([query.items for query in queries], [query.weights for query in queries])
        sources = np.where(folded, Source.FOLD_IN, Source.TRAINED).astype(np.uint8)
        for row, query in enumerate(queries):
            if not folded[row] and query.trained_user >= 0:
                vectors[row] = self.user_factors[query.trained_user]
                folded[row] = True
            elif not folded[row] and len(query.new_items):
                estimated = query.new_weights @ shelf.extra_factors[query.new_items - self.n_items]
                if estimated.any():  # else nothing that is said of them is known of an item of the model
                    vectors[row] = estimated / query.new_weights.sum()
                    sources[row] = self._new_source
                    folded[row] = True
        filters = [Filter(query, shelf) for query in queries]
        personal = np.flatnonzero(folded)
        ranked: dict[int, Candidates] = {}
        if len(personal):
            # Over-fetching what will be dropped as seen nearly always fills the list in one search for the batch.
            fetch = max(queries[row].n + len(queries[row].exclude) for row in personal.tolist())
            scores, items = self.index.search(vectors[personal], min(_round_up(fetch), self.n_items))
            for position, row in enumerate(personal.tolist()):
                hits = items[position]
                keep = (hits >= 0) & filters[row].allows(hits) & self._spoken_for[hits]
                found, found_scores = hits[keep][: queries[row].n], scores[position][keep][: queries[row].n]
                if len(found) < queries[row].n and fetch < self.n_items:
                    found, found_scores = self._search_allowed(vectors[row], queries[row].n, filters[row])
                personal_list = self._with_new_items(
                    found, found_scores, vectors[row], int(sources[row]), queries[row].n, filters[row], shelf
                )
                if sources[row] == Source.FOLD_IN:
                    personal_list = self._with_more(personal_list, vectors[row], filters[row], shelf, queries[row])
                ranked[row] = personal_list
        nothing = Candidates(_EMPTY, np.empty(0, np.float32), np.empty(0, np.uint8), cold_start=True)
        return [_fill(ranked.get(row, nothing), query.n, filters[row], shelf) for row, query in enumerate(queries)]

    def explain(self, query: Query, items: np.ndarray, reasons: int) -> list[list[tuple[int, float]]]:
        """The history items that contributed most to each item's score.

        Args:
            items: (k,) positions of a `Shelf`; those unknown to the model get no reasons.
            reasons: how many history items to name for each, at most.

        Returns:
            For each item, (position, share of the sum of all positive contributions), largest first.
        """
        explained: list[list[tuple[int, float]]] = [[] for _ in items]
        known = np.flatnonzero(items < self.n_items)
        if not len(query.items) or not len(known):
            return explained
        parts = self.fold_in.contributions(query.items, query.weights, items[known])
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
        norms = np.concatenate([self._norms, np.linalg.norm(shelf.extra_factors, axis=1)])
        products = np.concatenate([self.item_factors @ vector, shelf.extra_factors @ vector])
        cosines = products / length / np.maximum(norms, np.finfo(np.float32).tiny)
        cosines[~shelf.visible] = -np.inf
        cosines[self.n_items :][~shelf.extra_known] = -np.inf
        cosines[position] = -np.inf
        best = _top(cosines, n)
        best = best[np.isfinite(cosines[best])]
        return best, cosines[best].astype(np.float32)

    def factors_of(self, items: np.ndarray, shelf: Shelf) -> np.ndarray:
        """(k, f) float32: trained factors, or the estimate for items that the model has not seen."""
        if not len(shelf.extra_factors):
            return self.item_factors[items]
        factors = np.empty((len(items), self.item_factors.shape[1]), np.float32)
        trained = items < self.n_items
        factors[trained] = self.item_factors[items[trained]]
        factors[~trained] = shelf.extra_factors[items[~trained] - self.n_items]
        return factors

    def _search_allowed(self, vector: np.ndarray, n: int, allowed: Filter) -> tuple[np.ndarray, np.ndarray]:
        """Exact scores over the allowed items only: for filters so narrow that the index did not fill the list."""
        items = np.flatnonzero(allowed.mask()[: self.n_items] & self._spoken_for)
        scores = self.item_factors[items] @ vector
        best = _top(scores, n)
        return items[best], scores[best]

    def _with_new_items(
        self,
        items: np.ndarray,
        scores: np.ndarray,
        vector: np.ndarray,
        source: int,
        n: int,
        allowed: Filter,
        shelf: Shelf,
    ) -> Candidates:
        sources = np.full(len(items), source, np.uint8)
        if not len(shelf.extra_factors):
            return Candidates(items, scores, sources)
        extra = self.n_items + np.arange(len(shelf.extra_factors))
        keep = allowed.allows(extra) & shelf.extra_known
        items = np.concatenate([items, extra[keep]])
        scores = np.concatenate([scores, shelf.extra_factors[keep] @ vector])
        sources = np.concatenate([sources, np.full(int(keep.sum()), self._new_source, np.uint8)])
        best = _top(scores, n)
        return Candidates(items[best], scores[best], sources[best])

    def _with_more(
        self, found: Candidates, vector: np.ndarray, allowed: Filter, shelf: Shelf, query: Query
    ) -> Candidates:
        """Candidates, followed by the most popular items of the last days and by those of the further sources that are
        not among them, as in training."""
        more: list[tuple[Source, np.ndarray]] = []
        if self._trending and len(shelf.trending):
            hot = self._hot(shelf.trending[: _HEAD * self._trending], found, allowed)
            if len(hot) < self._trending:  # nearly always the head holds enough
                hot = self._hot(shelf.trending, found, allowed)
            more.append((Source.TRENDING, hot))
        if self.more.total:
            taken = np.concatenate([found.items, *(items for _, items in more)])

            def may_come(items: np.ndarray) -> np.ndarray:
                return allowed.allows(items) & ~_among(items, taken) & self._spoken_for[items]

            given = more_candidates(self.more, self._relations, query.recent, query.past, may_come)
            more += [(_FURTHER[name], items) for name, items in given]
        if more:
            items = np.concatenate([items for _, items in more])
            sources = np.repeat([source for source, _ in more], [len(items) for _, items in more])
            found = Candidates(
                np.concatenate([found.items, items]),
                np.concatenate([found.scores, self.factors_of(items, shelf) @ vector]),
                np.concatenate([found.sources, sources.astype(np.uint8)]),
            )
        return replace(found, folded=len(found.items))

    def _hot(self, trending: np.ndarray, found: Candidates, allowed: Filter) -> np.ndarray:
        other = allowed.allows(trending) & ~_among(trending, found.items)
        model_items = trending < self.n_items
        other[model_items] &= self._spoken_for[trending[model_items]]
        return trending[other][: self._trending]


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


def _top(scores: np.ndarray, n: int) -> np.ndarray:
    """Positions of the `n` largest scores, best first; ties: lower position first."""
    if len(scores) > 4 * n:
        edge = np.partition(scores, len(scores) - n)[len(scores) - n]
        near = np.flatnonzero(scores >= edge)
        return near[np.argsort(-scores[near], kind="stable")][:n]
    return np.argsort(-scores, kind="stable")[:n]


def _round_up(n: int) -> int:
    """The next multiple of 64: few distinct sizes keep the allocator calm."""
    return -(-n // 64) * 64
