"""A model as a replica of `Retrieval` holds it: the bundle's arrays, and the shelf that belongs to its vocabulary."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from deployments.recommend.messages import Answer, Question
from deployments.recommend.ranker_features import NO_AFFINITIES, Asker, RankerFeatures
from features.items.catalogue import Item
from features.items.trending import Popularity
from features.serving.slots import Slot
from models.bundle.arrays import BundleError
from models.bundle.reading import Bundle, load_bundle
from models.content.description import NOTHING, Description
from models.ranking.features import latest_distinct
from models.relations.more_sources import LATEST
from models.relations.near_counts import CELLS
from models.retrieval.candidates import CandidateModel, Candidates
from models.retrieval.near_items import NearItems
from models.retrieval.query import Query
from models.retrieval.shelf import Shelf, ShelfBuilder, ShelfItem

REASONS = 3
WEEK, DAY = "7d", "1d"
"""The windows of popularity that the ranker's features use."""
PART = 20_000
"""Items that are taken over at once while a model loads: it bounds memory."""
ESTIMATED = 250
"""New items whose factors are estimated at once while requests wait. After an import of very many items those of the
latest come first."""
TURNS = 4
"""How often that is done at each look at what is popular."""
TAKEN = 1_000
"""Items that are taken over at once while requests wait."""


class LoadedModel:
    """A model and the shelf that belongs to its vocabulary; swapped by one reference.

    Args:
        items: all items of the catalogue.
        find: gives an item of the catalogue as it is when it is asked for; None where only `items` are known.
        near_cells: the most cells of near counts.

    Attributes:
        trending_window: the half-life of the trending candidates that its ranker learned from; None without a ranker.
        near: the near counts, and `near_start` what they were when the model was trained; None where it does without.
    """

    def __init__(
        self,
        bundle: Bundle,
        prior_weight: float,
        items: list[Item],
        find: Callable[[str], Item | None] | None = None,
        near_cells: int = CELLS,
    ) -> None:
        self.trending_window = None if bundle.manifest.ranker is None else bundle.manifest.ranker.trending_window
        self.model = CandidateModel(bundle, prior_weight)
        self.path = str(bundle.path)
        self.builder = ShelfBuilder(
            [item_id.encode() for item_id in bundle.item_ids.tolist()],
            bundle.item_counts,
            bundle.item_factors,
            content=bundle.content,
            describe=self._describe,
        )
        self.near_start = None if bundle.ranking is None else bundle.ranking.near
        self.near: NearItems | None = None
        self.near_users: list[str] = []
        if self.near_start is not None:
            self.near = NearItems(self.near_start.live(near_cells), self.model.n_items)
            self.near_users = [str(bundle.user_ids[row]) for row in self.near_start.users.tolist()]
        self._find = find if find is not None else {item.item_id: item for item in items}.get
        self.block = None if bundle.ranking is None else RankerFeatures(bundle.ranking, bundle.item_factors)
        self._user_ids = np.array([user_id.encode() for user_id in bundle.user_ids.tolist()], "S")
        self._user_order = np.argsort(self._user_ids, kind="stable")
        self.builder.add([item.item_id.encode() for item in items])  # room for all of them at once
        for start in range(0, len(items), PART):
            self._take(items[start : start + PART])
        self.catch_up(len(items))
        self.shelf: Shelf = self.builder.shelf()

    def take_items(self, items: list[Item]) -> None:
        """Take over changes of the catalogue."""
        self._take(items)
        self.catch_up()

    def catch_up(self, most: int = ESTIMATED) -> None:
        """Estimate the factors of new items that wait for them, so many at most."""
        places, gone = self.builder.estimate(most)
        if self.block is not None and len(places) + len(gone):
            self.block.take_factors(places, self.builder.new_items.factors_of(places), gone)
        self.shelf = self.builder.shelf()

    async def take_all(self, items: list[Item]) -> None:
        """As `take_items`, of any number, part by part: requests are answered in between."""
        for start in range(0, len(items), TAKEN):
            self.take_items(items[start : start + TAKEN])
            await asyncio.sleep(0)

    async def catch_up_in_turns(self) -> None:
        """As `catch_up`, a few times while anything waits; requests are answered in between."""
        for _ in range(TURNS):
            if self.builder.new_items.behind:
                self.catch_up()
                await asyncio.sleep(0)

    def similar(self, item_id: bytes, n: int) -> list[tuple[bytes, float]] | None:
        """The `n` items whose factors point most nearly the same way, with the cosine; None for an item that nobody
        knows."""
        position = self.builder.table.find_one(item_id)
        if position < 0:
            return None
        if position >= self.model.n_items:
            self.builder.new_items.ask(position)
            self.catch_up()
        items, cosines = self.model.similar(position, n, self.shelf)
        return [
            (self.builder.ids[place], cosine) for place, cosine in zip(items.tolist(), cosines.tolist(), strict=True)
        ]

    def _take(self, items: list[Item]) -> None:
        shelved = [_shelf_item(item) for item in items]
        self.builder.update(shelved)
        if self.near is not None:
            self.near.take_shelf(self.builder.places)
        if self.block is None:
            return
        places, n = self.builder.places([item.item_id for item in shelved]).tolist(), len(self.builder.ids)
        self.block.take_attributes(places, [item.attributes for item in items], n)
        self.block.take_items(places, [item.categories for item in items], [item.created_ms for item in items], n)

    def _describe(self, item_ids: Sequence[bytes]) -> list[Description]:
        found = [self._find(item_id.decode()) for item_id in item_ids]
        return [
            NOTHING if item is None else Description(item.title, item.year, item.categories, item.attributes)
            for item in found
        ]

    def take_popularity(self, popularity: Mapping[str, Popularity]) -> None:
        """Take over what is popular now, by half-lives: the first one for what is trending, unless the ranker learned
        from another that is there; and for a ranker those of its features."""
        if not popularity:
            return  # Popularity has not been read yet.
        shares = {window: self._shares(one) for window, one in popularity.items()}
        wanted = self.trending_window if self.trending_window in shares else next(iter(shares))
        self.builder.set_trending(*shares[wanted])
        unknown = np.unique(np.concatenate([places for places, _ in shares.values()]))
        self.builder.new_items.want(unknown[unknown >= self.model.n_items])
        self.catch_up()
        if self.block is not None and {DAY, WEEK} <= shares.keys():
            self.block.take_popularity(shares[DAY], shares[WEEK])

    def _shares(self, popularity: Popularity) -> tuple[np.ndarray, np.ndarray]:
        places = self.builder.places(popularity.item_ids)
        known = places >= 0
        leader = float(popularity.weights.max(initial=0.0)) or 1.0
        return places[known], popularity.weights[known] / leader

    def answer(self, question: Question, query: Query, candidates: Candidates) -> Answer:
        """The candidates of one question, by their ids."""
        ids = self.builder.ids
        factors, reasons = b"", []
        if question.with_factors:
            factors = self.model.factors_of(candidates.items, self.shelf).tobytes()
        if question.with_reasons:
            explained = self.model.explain(query, candidates.items, REASONS)
            reasons = [tuple((ids[place], share) for place, share in found) for found in explained]
        return Answer(
            b"\n".join(map(ids.__getitem__, candidates.items.tolist())),
            candidates.scores.astype("<f4").tobytes(),
            candidates.sources.tobytes(),
            candidates.cold_start,
            candidates.folded,
            factors,
            tuple(reasons),
        )

    def trained_user(self, user_id: bytes) -> int:
        """The row of the user in the trained user factors; -1 for a user who was not trained."""
        if not len(self._user_ids):
            return -1
        place = np.searchsorted(self._user_ids, user_id, sorter=self._user_order)
        if place == len(self._user_ids):
            return -1
        row = int(self._user_order[place])
        return row if self._user_ids[row] == user_id else -1


def load_model(
    slot: Slot,
    prior_weight: float,
    items: list[Item],
    find: Callable[[str], Item | None] | None = None,
    near_cells: int = CELLS,
) -> LoadedModel:
    """Load, verify and warm what a slot points at.

    Args:
        prior_weight: how much the population's mean vector counts, see `models.factors.fold_in`.
        items, find, near_cells: see `LoadedModel`.

    Raises:
        BundleError: the bundle is damaged, or holds another version than the slot names.
    """
    bundle = load_bundle(slot.path)
    if bundle.manifest.version != slot.version:
        raise BundleError(f"{slot.path} holds version {bundle.manifest.version}, the slot names {slot.version}")
    loaded = LoadedModel(bundle, prior_weight, items, find, near_cells)
    model = loaded.model
    warm = Query(np.arange(min(3, model.n_items)), np.ones(min(3, model.n_items), np.float32), np.empty(0, int), 10)
    if model.sequence_length:
        warm = replace(warm, sequence=warm.items)
    near = loaded.near
    if near is not None:
        warm = replace(warm, latest_rows=latest_distinct(warm.items, LATEST))
    found = model.retrieve([warm], loaded.shelf, near)
    if loaded.block is not None:
        asker = Asker(warm.items, warm.items, NO_AFFINITIES, latest_rows=warm.latest_rows)
        loaded.block.features([asker], found, 0.0, near)
    return loaded


def _shelf_item(item: Item) -> ShelfItem:
    return ShelfItem(item.item_id.encode(), item.categories, item.recommendable, item.created_ms)
