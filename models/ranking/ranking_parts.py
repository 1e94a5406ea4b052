"""The learned ranker as a bundle carries it: the trees, and what their features need beside the factors."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.ranking.attributes import NO_ATTRIBUTES, UsedAttributes
from models.ranking.block.columns import BlockColumns
from models.ranking.block.habits import HABIT_FEATURES
from models.ranking.block.repeats import REPEAT_FEATURES
from models.ranking.item_relations import ItemRelations, check_relations, relation_arrays, relations_of
from models.ranking.item_table import ItemStatistics
from models.ranking.ranker import Ranker
from models.relations.near_state import NearState


@dataclass(frozen=True)
class RankingParts:
    """The learned ranker with what its features need beside the factors.

    Attributes:
        ranker: the fitted trees.
        statistics: what training saw of the n_items items.
        relations: how items relate to each other; None in a bundle of before, where there were too many items.
        attributes: the attributes that it reads.
        user_values: (n_users, u) float32, those of the trained users (`models.ranking.attributes.user_values`); None
            where it reads none of users.
        near: what was taken up together within minutes, up to the training; None where the model does without.
    """

    ranker: Ranker
    statistics: ItemStatistics
    relations: ItemRelations | None
    attributes: UsedAttributes = NO_ATTRIBUTES
    user_values: np.ndarray | None = None
    near: NearState | None = None

    @property
    def reads_repeats(self) -> bool:
        """Whether the ranker looks at what the user had before."""
        return self.columns.any_of(REPEAT_FEATURES, HABIT_FEATURES)

    @cached_property
    def columns(self) -> BlockColumns:
        """What the ranker reads of candidates."""
        return BlockColumns(self.ranker.block_features)


def ranking_arrays(ranking: RankingParts) -> dict[str, np.ndarray]:
    """What `ranking.npz` holds."""
    arrays = {f"item_{name}": array for name, array in vars(ranking.statistics).items()}
    if ranking.relations is not None:
        arrays |= relation_arrays(ranking.relations)
    if ranking.user_values is not None:
        arrays["user_values"] = ranking.user_values
    if ranking.near is not None:
        arrays |= {f"near_{name}": array for name, array in vars(ranking.near).items()}
    return arrays


def ranking_parts(
    ranker: Ranker, arrays: dict[str, np.ndarray], attributes: UsedAttributes = NO_ATTRIBUTES
) -> RankingParts:
    """The reverse of `ranking_arrays`. Raises KeyError for a missing array."""
    statistics = ItemStatistics(**{name: arrays[f"item_{name}"] for name in ItemStatistics.__dataclass_fields__})
    relations = relations_of(arrays)
    of_users = arrays["user_values"] if attributes.users else None
    near = None
    if "near_edges" in arrays:
        near = NearState(**{name: arrays[f"near_{name}"] for name in NearState.__dataclass_fields__})
    return RankingParts(ranker, statistics, relations, attributes, of_users, near)


def check_ranking(ranking: RankingParts, n_items: int, n_users: int) -> None:
    """Raises ValueError naming the array that does not fit."""
    for name, array in vars(ranking.statistics).items():
        if array.shape != (n_items,) or array.dtype.kind not in "iuf":
            raise ValueError(
                f"{name} of the item statistics is {array.dtype} {array.shape}, expected numbers {(n_items,)}"
            )
    if ranking.attributes.users:
        found, expected = ranking.user_values, (n_users, len(ranking.attributes.users))
        if found is None or found.shape != expected or found.dtype != np.float32:
            raise ValueError(f"user_values must be float32 {expected}")
    if ranking.relations is not None:
        check_relations(ranking.relations, n_items)
    if ranking.near is not None:
        ranking.near.check(n_items, n_users)
