"""The candidate block of the ranker's features, for a whole micro-batch, beside the factors that it needs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from configs.decay import AFFINITY_HALF_LIFE_MS
from models.ranking.attributes import AttributeColumns, Attributes
from models.ranking.block.columns import AFFINITY, COSINES, RELATIONS, TOGETHER
from models.ranking.features import RECENT, RequestBatch, affinity_rows, candidate_features, latest_distinct
from models.ranking.live_items import LiveItems
from models.ranking.point_in_time import affinity_amounts
from models.ranking.ranking_parts import RankingParts
from models.relations.near_lists import NEAR_FEATURES
from models.relations.past_events import NO_PAST, PastEvents
from models.retrieval.candidates import Candidates
from models.retrieval.near_items import NearItems


class Affinities(NamedTuple):
    """A user's category affinities as the store holds them: names, and for each 16 bytes (time, value; `<dd`)."""

    names: tuple[bytes, ...]
    packed: bytes


NO_AFFINITIES = Affinities((), b"")
_NO_EVENTS = np.empty(0, np.int64)


class Asker(NamedTuple):
    """What the features need of one request beside its candidates, in positions of a `Shelf`.

    Attributes:
        history: (m,) positions of the user's events, oldest to newest, those that the model knows.
        speaking: (p,) distinct positions of items that speak for interest.
        affinities: the category affinities of the user.
        events: (e,) positions of the user's events, oldest to newest, those whose items are listed; read, as are the
            next two, where the ranker matches items with histories.
        amounts: (e,) what each of them counted when it came (`configs.decay.REFUSAL_AFFINITY` for a refusal).
        times_ms: (e,) when they were.
        trained_user: the row of the user in the bundle, -1 for none.
        past: what the user had before; read where the ranker looks at repeats.
        latest_rows: (LATEST,) rows of the latest items in the near counts, -1 padded; read where there are some.
    """

    history: np.ndarray
    speaking: np.ndarray
    affinities: Affinities
    events: np.ndarray = _NO_EVENTS
    amounts: np.ndarray = _NO_EVENTS
    times_ms: np.ndarray = _NO_EVENTS
    trained_user: int = -1
    past: PastEvents = NO_PAST
    latest_rows: np.ndarray = _NO_EVENTS


class RankerFeatures:
    """Computes the candidate block of one model version.

    Args:
        parts: the ranker of the bundle, with what its features need beside the factors.
        item_factors: (n_items, f) float32.

    Attributes:
        matches_histories: whether the ranker compares attributes of items with those of the history.
        reads_users: whether it reads attributes of users.
        reads_near: whether it reads near counts.
    """

    def __init__(self, parts: RankingParts, item_factors: np.ndarray) -> None:
        self._parts = parts
        self._columns_read = columns = parts.columns
        self._items = LiveItems(item_factors, parts.statistics)
        used = parts.attributes
        reads = columns.any_of(used.features)
        self._attributes = AttributeColumns(used, len(item_factors)) if reads else None
        self.matches_histories = columns.any_of(used.match_features)
        self.reads_users = columns.any_of(used.user_features)
        self.reads_near = columns.any_of(NEAR_FEATURES)
        self._reads_recent = columns.any_of(COSINES, RELATIONS, TOGETHER)
        self._popularity = np.zeros((2, 0), np.float32)
        self._columns: dict[bytes, int] = {}
        self._take_table(len(item_factors))

    @property
    def reads_repeats(self) -> bool:
        """Whether the ranker looks at what the user had before."""
        return self._parts.reads_repeats

    def take_attributes(self, places: Sequence[int], attributes: Sequence[Attributes], n: int) -> None:
        """Follow a change of the catalogue, before `take_items`; see `AttributeColumns.update`."""
        if self._attributes is not None:
            self._attributes.update(places, attributes, n)

    def take_items(
        self, places: Sequence[int], categories: Sequence[tuple[str, ...]], added_ms: Sequence[int], n: int
    ) -> None:
        """Follow a change of the catalogue; see `LiveItems.update`."""
        self._items.update(places, categories, added_ms, n)
        self._take_table(n)

    def take_factors(self, places: np.ndarray, factors: np.ndarray, gone: np.ndarray) -> None:
        """Follow the estimated factors of new items; see `LiveItems.take_factors`."""
        self._items.take_factors(places, factors, gone)

    def _take_table(self, n: int) -> None:
        self._table = self._items.table(None if self._attributes is None else self._attributes.table())
        for name in list(self._items.columns)[len(self._columns) :]:
            self._columns[name.encode()] = len(self._columns)
        self._n = n

    def take_popularity(self, day: tuple[np.ndarray, np.ndarray], week: tuple[np.ndarray, np.ndarray]) -> None:
        """Follow the live popularity.

        Args:
            day, week: positions and shares of the leader's popularity, decayed by half-lives of 1 and 7 days.
        """
        popularity = np.zeros((2, self._n), np.float32)
        for row, (places, shares) in enumerate((day, week)):
            popularity[row, places] = shares
        self._popularity = popularity

    def features(
        self, askers: Sequence[Asker], found: Sequence[Candidates], at_ms: float, near: NearItems | None = None
    ) -> bytes:
        """The block of the candidates that a ranker orders.

        Args:
            askers, found: one of each for every request, in the same order.
            at_ms: the moment as of which the features are computed.
            near: the live near counts; None where the model does without.

        Returns:
            float32 rows of what the ranker reads (`Ranker.block_features`) of the lists' first `folded` candidates, one
            list after another, as bytes.
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
            if self._reads_recent:
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
            past=[askers[place].past for place in rows] if self.reads_repeats else (),
        )
        if near is not None and self.reads_near:
            latest = np.stack([askers[place].latest_rows for place in rows])
            batch = replace(batch, near=near.features(latest, items))
        if self._attributes is not None:
            batch = self._with_attributes(batch, [askers[place] for place in rows], at_ms)
        block = candidate_features(self._table, self._parts.relations, batch, self._columns_read)
        if min(lengths[place] for place in rows) < width:
            return block[items >= 0].tobytes()
        return block.tobytes()

    def _with_attributes(self, batch: RequestBatch, askers: Sequence[Asker], at_ms: float) -> RequestBatch:
        users = None
        if self.reads_users and self._parts.user_values is not None:
            rows = np.array([asker.trained_user for asker in askers])
            users = np.where((rows >= 0)[:, None], self._parts.user_values[rows], np.float32(np.nan))
        return replace(
            batch,
            events=[asker.events for asker in askers],
            amounts=[affinity_amounts(asker.amounts, asker.times_ms, at_ms) for asker in askers],
            users=users,
        )

    def _affinity(self, affinities: Sequence[Affinities], at_ms: float) -> np.ndarray:
        if not self._columns_read.any_of(AFFINITY):
            return np.empty((len(affinities), 0), np.float32)
        packed = np.frombuffer(b"".join([mine.packed for mine in affinities]), "<f8").reshape(-1, 2)
        decayed = packed[:, 1] * np.exp2((packed[:, 0] - at_ms) / AFFINITY_HALF_LIFE_MS)
        columns = np.array([self._columns.get(name, -1) for mine in affinities for name in mine.names], np.int64)
        return affinity_rows([len(mine.names) for mine in affinities], columns, decayed, len(self._columns))
