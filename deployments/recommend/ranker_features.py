"""The candidate block of the ranker's features, for a whole micro-batch, beside the factors that it needs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from configs.decay import AFFINITY_HALF_LIFE_MS
from models.ranking.features import RECENT, RequestBatch, affinity_rows, candidate_features, latest_distinct
from models.ranking.item_table import item_table
from models.ranking.ranking_parts import RankingParts
from models.retrieval.candidates import Candidates
from models.retrieval.shelf import Shelf


class Affinities(NamedTuple):
    """A user's category affinities as the store holds them: names, and for each 16 bytes (time, value; `<dd`)."""

    names: tuple[bytes, ...]
    packed: bytes


NO_AFFINITIES = Affinities((), b"")


class Asker(NamedTuple):
    """What the features need of one request beside its candidates, in positions of a `Shelf`.

    Attributes:
        history: (m,) positions of the user's events, oldest to newest, those that the model knows.
        speaking: (p,) distinct positions of items that speak for interest.
        affinities: the category affinities of the user.
    """

    history: np.ndarray
    speaking: np.ndarray
    affinities: Affinities


class RankerFeatures:
    """Computes the candidate block of one model version.

    Args:
        parts: the ranker of the bundle, with what its features need beside the factors.
        item_factors: (n_items, f) float32.
    """

    def __init__(self, parts: RankingParts, item_factors: np.ndarray) -> None:
        self._parts = parts
        self._factors = item_factors
        self._hot = np.empty(0, np.int64)
        self._popularity = np.zeros((2, 0), np.float32)

    def take_shelf(self, shelf: Shelf, added_ms: np.ndarray) -> None:
        """Follow a change of the catalogue.

        Args:
            added_ms: (n_extra,) when each item unknown to the model was added.
        """
        self._table = item_table(self._factors, self._parts.statistics, shelf.categories, shelf.extra_factors, added_ms)
        self._columns = {name.encode(): column for name, column in self._table.category_columns.items()}
        self._n = len(shelf.visible)

    def take_popularity(self, day: tuple[np.ndarray, np.ndarray], week: tuple[np.ndarray, np.ndarray]) -> None:
        """Follow the live popularity.

        Args:
            day, week: positions and shares of the leader's popularity, decayed by half-lives of 1 and 7 days.
        """
        popularity = np.zeros((2, self._n), np.float32)
        for row, (places, shares) in enumerate((day, week)):
            popularity[row, places] = shares
        self._popularity = popularity

    def features(self, askers: Sequence[Asker], found: Sequence[Candidates], at_ms: float) -> bytes:
        """The block of the candidates that a ranker orders.

        Args:
            askers, found: one of each for every request, in the same order.
            at_ms: the moment as of which the features are computed.

        Returns:
            float32 rows of `CANDIDATE_FEATURES`, the lists' first `folded` candidates one after another, as bytes.
        """
        lengths = [candidates.folded for candidates in found]
        width = max(lengths, default=0)
        if width == 0:
            return b""
        rows = [place for place, length in enumerate(lengths) if length]
        items = np.full((len(rows), width), -1, np.int64)
        scores = np.full((len(rows), width), np.nan, np.float32)
        recent = np.full((len(rows), RECENT), -1, np.int64)
        for row, place in enumerate(rows):
            length = lengths[place]
            items[row, :length] = found[place].items[:length]
            scores[row, :length] = found[place].scores[:length]
            recent[row] = latest_distinct(askers[place].history, RECENT, askers[place].speaking)
        if self._popularity.shape[1] < self._n:  # Items were added since popularity was read: they have none yet.
            grown = np.zeros((2, self._n), np.float32)
            grown[:, : self._popularity.shape[1]] = self._popularity
            self._popularity = grown
        batch = RequestBatch(
            candidates=items,
            scores=scores,
            recent=recent,
            histories=[askers[place].speaking for place in rows],
            at_ms=np.full(len(rows), at_ms),
            affinity=self._affinity([askers[place].affinities for place in rows], at_ms),
            popularity=self._popularity,
        )
        block = candidate_features(self._table, self._parts.relations, batch)
        if min(lengths[place] for place in rows) < width:
            return block[items >= 0].tobytes()
        return block.tobytes()

    def _affinity(self, affinities: Sequence[Affinities], at_ms: float) -> np.ndarray:
        packed = np.frombuffer(b"".join([mine.packed for mine in affinities]), "<f8").reshape(-1, 2)
        decayed = packed[:, 1] * np.exp2((packed[:, 0] - at_ms) / AFFINITY_HALF_LIFE_MS)
        columns = np.array([self._columns.get(name, -1) for mine in affinities for name in mine.names], np.int64)
        return affinity_rows([len(mine.names) for mine in affinities], columns, decayed, len(self._columns))
