"""A model as a replica of `Retrieval` holds it: the bundle's arrays, and the shelf that belongs to its vocabulary."""

from collections.abc import Mapping

import numpy as np

from deployments.recommend.ranker_features import NO_AFFINITIES, Asker, RankerFeatures
from features.items.catalogue import Item
from features.items.trending import Popularity
from features.serving.slots import Slot
from models.bundle.arrays import BundleError
from models.bundle.reading import Bundle, load_bundle
from models.content.description import Description
from models.retrieval.candidates import CandidateModel
from models.retrieval.query import Query
from models.retrieval.shelf import Shelf, ShelfBuilder, ShelfItem

WEEK, DAY = "7d", "1d"
"""The windows of popularity that the ranker's features use."""


class LoadedModel:
    """A model and the shelf that belongs to its vocabulary; swapped by one reference.

    Attributes:
        trending_window: the half-life of the trending candidates that its ranker learned from; None without a ranker.
    """

    def __init__(self, bundle: Bundle, prior_weight: float, items: list[Item]) -> None:
        self.trending_window = None if bundle.manifest.ranker is None else bundle.manifest.ranker.trending_window
        self.model = CandidateModel(bundle, prior_weight)
        self.path = str(bundle.path)
        self.builder = ShelfBuilder(
            [item_id.encode() for item_id in bundle.item_ids.tolist()],
            bundle.item_counts,
            bundle.item_factors,
            content=bundle.content,
        )
        self.block = None if bundle.ranking is None else RankerFeatures(bundle.ranking, bundle.item_factors)
        self._user_ids = np.array([user_id.encode() for user_id in bundle.user_ids.tolist()], "S")
        self._user_order = np.argsort(self._user_ids, kind="stable")
        self.take_items(items)

    def take_items(self, items: list[Item]) -> None:
        """Take over changes of the catalogue."""
        self.builder.update([_shelf_item(item) for item in items])
        self.shelf: Shelf = self.builder.shelf()
        if self.block is not None:
            if self.block.reads_attributes:
                places = self.builder.places([item.item_id.encode() for item in items])
                self.block.take_attributes(places.tolist(), [item.attributes for item in items], len(self.builder.ids))
            self.block.take_shelf(self.shelf, self.builder.extra_added_ms())

    def take_popularity(self, popularity: Mapping[str, Popularity]) -> None:
        """Take over what is popular now, by half-lives: the first one for what is trending, unless the ranker learned
        from another that is there; and for a ranker those of its features."""
        if not popularity:
            return  # Popularity has not been read yet.
        shares = {window: self._shares(one) for window, one in popularity.items()}
        wanted = self.trending_window if self.trending_window in shares else next(iter(shares))
        self.builder.set_trending(*shares[wanted])
        self.shelf = self.builder.shelf()
        if self.block is not None and {DAY, WEEK} <= shares.keys():
            self.block.take_popularity(shares[DAY], shares[WEEK])

    def _shares(self, popularity: Popularity) -> tuple[np.ndarray, np.ndarray]:
        places = self.builder.places(popularity.item_ids)
        known = places >= 0
        leader = float(popularity.weights.max(initial=0.0)) or 1.0
        return places[known], popularity.weights[known] / leader

    def trained_user(self, user_id: bytes) -> int:
        """The row of the user in the trained user factors; -1 for a user who was not trained."""
        if not len(self._user_ids):
            return -1
        place = np.searchsorted(self._user_ids, user_id, sorter=self._user_order)
        if place == len(self._user_ids):
            return -1
        row = int(self._user_order[place])
        return row if self._user_ids[row] == user_id else -1


def load_model(slot: Slot, prior_weight: float, items: list[Item]) -> LoadedModel:
    """Load, verify and warm what a slot points at.

    Args:
        prior_weight: how much the population's mean vector counts, see `models.factors.fold_in`.
        items: all items of the catalogue.

    Raises:
        BundleError: the bundle is damaged, or holds another version than the slot names.
    """
    bundle = load_bundle(slot.path)
    if bundle.manifest.version != slot.version:
        raise BundleError(f"{slot.path} holds version {bundle.manifest.version}, the slot names {slot.version}")
    loaded = LoadedModel(bundle, prior_weight, items)
    model = loaded.model
    warm = Query(np.arange(min(3, model.n_items)), np.ones(min(3, model.n_items), np.float32), np.empty(0, int), 10)
    found = model.retrieve([warm], loaded.shelf)
    if loaded.block is not None:
        loaded.block.features([Asker(warm.items, warm.items, NO_AFFINITIES)], found, 0.0)
    return loaded


def _shelf_item(item: Item) -> ShelfItem:
    description = Description(item.title, item.year, item.categories, item.attributes)
    return ShelfItem(item.item_id.encode(), item.categories, item.recommendable, item.created_ms, description)
