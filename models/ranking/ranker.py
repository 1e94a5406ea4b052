"""The learned ranker: LightGBM's LambdaMART over the features of `models.ranking.features`.

Burges, "From RankNet to LambdaRank to LambdaMART", MSR-TR-2010-82; Ke et al., "LightGBM", NIPS 2017.

Lists that were shown teach what was taken up, and that depends on the place as well as on the item: a plain fit learns
the old order again. So the place is fitted beside the features and then left away: score = f(features) + g(place), f is
the ranker (LightGBM's position bias treatment for lambdarank; the same decomposition as in Guo et al., "PAL", RecSys
2019). g is known up to a constant only, and f and g can be told apart only because items with like features stood at
different places in different lists. What moves both place and outcome without being a feature goes to g, wrongly.
"""

import re
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from models.ranking.attributes import NO_ATTRIBUTES, UsedAttributes
from models.ranking.features import EARLIER_FEATURES, FEATURES, FEATURES_HASH, USER_FEATURES
from models.ranking.forest import Forest
from models.ranking.model_text import check_model_text

_GRADES = 10  # LightGBM wants whole labels
# Of a keyword's values LightGBM takes the best group for each split, which fits noise: with its own settings (10, 10,
# 100) two random keywords of 200 values cost .004 to .011 of NDCG@10 on generated data; with these no tree took either.
_KEYWORDS = {"cat_smooth": 300.0, "cat_l2": 300.0, "min_data_per_group": 1000}


class RankerError(ValueError):
    """A ranker cannot be used; the message says why."""


class RankerParameters(BaseModel):
    """What defines a ranker beside its training set and its seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trees: int = Field(default=300, ge=1, le=5000)
    leaves: int = Field(default=15, ge=2, le=1024, description="leaves of each tree at most")
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    smallest_leaf: int = Field(default=100, ge=1, description="candidates in a leaf at least")
    l2: float = Field(default=10.0, ge=0)
    feature_share: float = Field(default=0.5, gt=0, le=1, description="share of the features that each tree sees")
    row_share: float = Field(default=0.8, gt=0, le=1, description="share of the candidates that each tree sees")
    truncation: int = Field(default=20, ge=1, description="ranks that the objective looks at")


class Ranker:
    """A fitted ranker.

    Args:
        text: LightGBM's text form of the model.
        attributes: the features that follow those of this code (`UsedAttributes.features`).
        features_hash: by which definition of the features it was trained (`EARLIER_FEATURES`).

    Attributes:
        features: the names of all features that training computes; of an earlier definition it knows some of them only.
        block_features: those that any tree reads of candidates, in the order of the model's text; a bundle's reads do
            not depend on which version of this code looks at it.
        user_columns: the columns of `USER_FEATURES` that any tree reads, rising.

    Raises:
        RankerError: the text is damaged, or its features are not those of this code.
    """

    def __init__(self, text: str, attributes: Sequence[str] = (), features_hash: str = FEATURES_HASH) -> None:
        # It takes 0.8 s to import, scikit-learn with it. Whoever holds no ranker does not wait for that.
        import lightgbm

        own = (*features_of(features_hash), *attributes)
        try:
            check_model_text(text, len(own))
        except ValueError as error:
            raise RankerError(f"it is no LightGBM model: {error}") from error
        try:
            self._booster = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            raise RankerError(f"it is no LightGBM model: {error}") from error
        names, expected = tuple(self._booster.feature_name()), own
        if names != expected:
            wrong = next((f"{a!r} instead of {b!r}" for a, b in zip(names, expected, strict=False) if a != b), None)
            raise RankerError(
                f"it has {len(names)} features, expected {len(expected)}" + (f"; {wrong}" if wrong else "")
            )
        self.features = (*FEATURES, *attributes)
        self._names = names
        self.text = text
        splits = self._booster.feature_importance("split")
        read = [name for name, count in zip(names, splits, strict=True) if count > 0]
        self.block_features = tuple(name for name in read if name not in USER_FEATURES)
        of_users = [name for name in read if name in USER_FEATURES]
        self.user_columns = np.array([USER_FEATURES.index(name) for name in of_users], np.int64)
        self._own, self._shared = ([names.index(name) for name in some] for some in (self.block_features, of_users))
        try:
            self._forest: Forest | None = Forest(self._booster.dump_model()["tree_info"], self._own, self._shared)
        except ValueError:  # larger trees than that form holds: LightGBM walks them itself
            self._forest = None

    def score(self, features: np.ndarray) -> np.ndarray:
        """(n,) float32, larger is better within one list.

        Args:
            features: (n, len(self.features)) float32, all features of each candidate.
        """
        if features.shape[1] != len(self.features):
            raise RankerError(f"{features.shape[1]} features given, {len(self.features)} expected")
        block = features[:, [self.features.index(name) for name in self.block_features]]
        users = features[:, FEATURES.index(USER_FEATURES[0]) + self.user_columns]
        return self.score_lists(block, users, np.ones(len(features), np.int64))

    def score_lists(self, block: np.ndarray, users: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """(n,) float32: `score` of the lists of a micro-batch, of what the trees read.

        Args:
            block: (n, len(self.block_features)) float32, the lists one after another.
            users: (lists, len(self.user_columns)) float32.
            lengths: (lists,) int, candidates of each list; their sum is n.
        """
        if len(block) == 0:
            return np.empty(0, np.float32)
        if self._forest is not None:
            return self._forest.predict(block, users, lengths).astype(np.float32)
        features = np.full((len(block), len(self._names)), np.nan, np.float32)
        features[:, self._own] = block
        features[:, self._shared] = np.repeat(users, lengths, axis=0)
        # One thread: replicas share the cores, and starting a team of threads costs more than 100 candidates do.
        scores = self._booster.predict(features, num_threads=1, raw_score=True)
        return np.asarray(scores, np.float32)

    def importance(self) -> dict[str, float]:
        """feature -> share of the total gain."""
        gain = self._booster.feature_importance("gain")
        total = float(gain.sum()) or 1.0
        return {name: float(value) / total for name, value in zip(self._names, gain, strict=True)}


def fit_ranker(
    features: np.ndarray | Sequence[np.ndarray],
    gains: np.ndarray,
    lengths: np.ndarray,
    parameters: RankerParameters,
    seed: int,
    threads: int = 1,
    place: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    attributes: UsedAttributes = NO_ATTRIBUTES,
) -> Ranker:
    """Fit on lists of candidates. The result depends on data, parameters and seed; on `threads` only with `place`.

    Args:
        features: (n, len(FEATURES) + a) float32; a columns of attributes. The rows may come in several arrays: put
            together, they would be held twice.
        gains: (n,) float >= 0, how right each candidate was; told apart in tenths of the largest.
        lengths: (lists,) int, candidates of each list; their sum is n.
        threads: how many threads LightGBM uses, at least 1.
        place: (n,) int >= 0, where each candidate was shown; all of one number in a list that nobody was shown. None
            where no list was.
        weights: (n,) how much each candidate counts; None for all alike.
        attributes: what those a columns are.

    Raises:
        ValueError: no list holds both something relevant and something else; there is nothing to learn.
    """
    import lightgbm

    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    filled = lengths > 0
    grades = np.ceil(gains * (_GRADES / max(float(gains.max(initial=0.0)), 1e-9)) - 1e-6).astype(np.int8)
    found = np.add.reduceat((grades > 0).astype(np.int64), starts[filled]) if filled.any() else np.empty(0, np.int64)
    if not ((found > 0) & (found < lengths[filled])).any():
        raise ValueError("no list holds both a relevant candidate and another one")
    settings = {
        "objective": "lambdarank",
        "num_leaves": parameters.leaves,
        "learning_rate": parameters.learning_rate,
        "min_data_in_leaf": parameters.smallest_leaf,
        "lambda_l2": parameters.l2,
        "feature_fraction": parameters.feature_share,
        "bagging_fraction": parameters.row_share,
        "bagging_freq": 1 if parameters.row_share < 1 else 0,
        "lambdarank_truncation_level": parameters.truncation,
        "label_gain": [grade / _GRADES for grade in range(_GRADES + 1)],
        "max_bin": 127,
        "bin_construct_sample_cnt": 50_000,  # of 200,000, sorting took longer than a small ranker's trees
        "seed": seed % (2**31),
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "verbosity": -1,
        **(_KEYWORDS if attributes.categorical else {}),
    }
    training = lightgbm.Dataset(
        features if isinstance(features, np.ndarray) else list(features),
        label=grades,
        group=lengths[filled],
        position=place,
        weight=weights,
        feature_name=[*FEATURES, *attributes.features],
        categorical_feature=list(attributes.categorical) or "auto",
        params=settings,
    )
    booster = lightgbm.train(settings, training, num_boost_round=parameters.trees)
    # The text repeats the settings; how many threads there were is no part of the model.
    return Ranker(re.sub(r"\[num_threads: \d+\]", "[num_threads: 1]", booster.model_to_string()), attributes.features)


def features_of(features_hash: str) -> tuple[str, ...]:
    """The features of one definition. Raises `RankerError` when this version does not compute them."""
    if features_hash == FEATURES_HASH:
        return FEATURES
    if features_hash not in EARLIER_FEATURES:
        raise RankerError(f"it was trained on features {features_hash}, this version computes {FEATURES_HASH}")
    return EARLIER_FEATURES[features_hash]
