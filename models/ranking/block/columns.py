"""Which features a candidate block holds, in groups that are written together."""

from collections.abc import Sequence

import numpy as np

from models.ranking.block.habits import HABIT_FEATURES
from models.ranking.block.repeats import REPEAT_FEATURES
from models.relations.near_lists import NEAR_FEATURES

SCORES = ("retrieval_score", "retrieval_standard", "retrieval_rank")
COSINES = (
    "cosine_last",
    "cosine_max_5",
    "cosine_mean_5",
    "cosine_max_10",
    "cosine_mean_10",
    "cosine_max_10_standard",
)
RELATIONS = ("ease_standard", "ease_recent_standard", "follows_standard", "follows_last")
FACTS = ("log_count", "count_share", "value_mean", "year", "age_days")
POPULARITY = ("popularity_1d", "popularity_7d")
AFFINITY = ("affinity_mean", "affinity_max")
TOGETHER = ("together", "together_standard", "together_last")
CANDIDATE_FEATURES = (
    *SCORES,
    *COSINES,
    *RELATIONS,
    *FACTS,
    *POPULARITY,
    *AFFINITY,
    *TOGETHER,
    *REPEAT_FEATURES,
    *NEAR_FEATURES,
    *HABIT_FEATURES,
)


class BlockColumns:
    """The columns of a candidate block.

    Args:
        names: the features that it holds, in their order: all of them in training, those that a ranker reads in
            serving.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._column = {name: column for column, name in enumerate(self.names)}
        self._of: dict[tuple[str, ...], np.ndarray] = {}

    def of(self, group: tuple[str, ...]) -> np.ndarray:
        """(len(group),) int64: the column of each feature, -1 for one that the block does not hold."""
        if group not in self._of:
            self._of[group] = np.array([self._column.get(name, -1) for name in group], np.int64)
        return self._of[group]

    def any_of(self, *groups: tuple[str, ...]) -> bool:
        """Whether the block holds anything of these."""
        return any(name in self._column for group in groups for name in group)


ALL_COLUMNS = BlockColumns(CANDIDATE_FEATURES)
