"""A second stage for lists made ahead of time: LightGBM trees for the chance that a candidate was held out.

Where the held-out part is no later than the rest, the order by that chance is the best there is, and trees that fit it
(binary log loss) did better on inner splits than those that fit the order itself (LambdaMART): NDCG@10 .289 against
.284, over ALS's .284. The score keeps a part of the first stage's: trees know nothing between their steps.
"""

from collections.abc import Sequence

import lightgbm
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from models.batch_only.tree_walk import TreeWalk


class ListRankerParameters(BaseModel):
    """What defines a list ranker beside its training set and its seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trees: int = Field(default=300, ge=1)
    leaves: int = Field(default=15, ge=2)
    learning_rate: float = Field(default=0.03, gt=0, le=1)
    smallest_leaf: int = Field(default=400, ge=1, description="candidates in a leaf at least")
    l2: float = Field(default=10.0, ge=0)
    feature_share: float = Field(default=0.25, gt=0, le=1, description="share of the features that each tree sees")
    row_share: float = Field(default=0.8, gt=0, le=1)
    first_stage: float = Field(default=0.2, ge=0, description="weight of the first stage's standardised score")


class ListRanker:
    """A list ranker as `fit_list_ranker` fits it."""

    def __init__(self, booster: lightgbm.Booster, weight: float) -> None:
        self._booster = booster
        self._trees = TreeWalk(booster.dump_model()["tree_info"])
        self._weight = np.float32(weight)

    def score(self, features: np.ndarray, first_stage: np.ndarray) -> np.ndarray:
        """(n,) float32, larger is better within one list.

        Args:
            features: (n, f) float32.
            first_stage: (n,) standardised scores of the first stage.
        """
        return self._trees.predict(features).astype(np.float32) + self._weight * first_stage

    def importance(self) -> dict[str, float]:
        """feature -> share of the total gain."""
        gain = self._booster.feature_importance("gain")
        return dict(zip(self._booster.feature_name(), (gain / (float(gain.sum()) or 1.0)).tolist(), strict=True))


def fit_list_ranker(
    features: np.ndarray,
    relevant: np.ndarray,
    names: Sequence[str],
    parameters: ListRankerParameters,
    seed: int,
    threads: int = 1,
) -> ListRanker:
    """Fit a list ranker. The result depends on data, parameters and seed, not on `threads`.

    Args:
        features: (n, f) float32.
        relevant: (n,) bool.
        names: the names of the f features.

    Raises:
        ValueError: all candidates are alike; there is nothing to learn.
    """
    if not relevant.any() or relevant.all():
        raise ValueError("the lists hold nothing to tell apart")
    settings = {
        "objective": "binary",
        "num_leaves": parameters.leaves,
        "learning_rate": parameters.learning_rate,
        "min_data_in_leaf": min(parameters.smallest_leaf, max(20, len(features) // 100)),
        "lambda_l2": parameters.l2,
        "feature_fraction": parameters.feature_share,
        "bagging_fraction": parameters.row_share,
        "bagging_freq": 1 if parameters.row_share < 1 else 0,
        "max_bin": 127,
        "seed": seed % (2**31),
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "verbosity": -1,
    }
    training = lightgbm.Dataset(features, label=relevant.astype(np.int8), feature_name=list(names), params=settings)
    return ListRanker(lightgbm.train(settings, training, num_boost_round=parameters.trees), parameters.first_stage)
