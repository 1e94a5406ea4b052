"""What `Ranking` makes of a reply: scores by the columns that the ranker reads."""

import numpy as np
import pytest

from deployments.recommend.candidate_call import score_candidates
from deployments.recommend.messages import Answer, Reply
from features.users.user_features import UserFeatures
from models.ranking.features import FEATURES, USER_FEATURES, user_features
from models.ranking.ranker import Ranker, RankerParameters, fit_ranker

AT_MS = 1_700_000_000_000.0
NOBODY = UserFeatures(0, None, None, {})
LENGTHS = np.array([3, 0, 5])


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    """It learns from two features of candidates and one of users; what is the same in all rows no tree reads."""
    generator = np.random.default_rng(0)
    features = np.zeros((2000, len(FEATURES)), np.float32)
    varied = [FEATURES.index(name) for name in ("cosine_last", "popularity_7d", "hour")]
    features[:, varied] = generator.normal(size=(2000, 3)) * (1, 1, 8)
    relevant = features[:, varied[0]] + 0.3 * features[:, varied[1]] * np.sign(features[:, varied[2]] - 4) > 0.8
    return fit_ranker(features, relevant, np.full(100, 20), RankerParameters(trees=30, leaves=7, smallest_leaf=5), 0)


def reply(block: np.ndarray) -> Reply:
    answers = [Answer(b"", b"", b"", False, int(length)) for length in LENGTHS]
    return Reply("v1", "int", 0, answers, "somewhere", block.tobytes(), AT_MS)


def test_a_list_is_scored_by_what_the_trees_read(ranker: Ranker) -> None:
    assert ranker.block_features == ("cosine_last", "popularity_7d")
    assert [USER_FEATURES[column] for column in ranker.user_columns] == ["hour"]
    block = np.random.default_rng(1).normal(size=(8, 2)).astype(np.float32)
    users = [NOBODY, None, NOBODY]
    found = score_candidates(ranker, reply(block), users, [None] * 3)
    assert [len(one) for one in found] == LENGTHS.tolist()
    features = np.full((8, len(FEATURES)), np.nan, np.float32)
    features[:, [FEATURES.index(name) for name in ranker.block_features]] = block
    hour = user_features(np.zeros(1), np.zeros((1, 3)), np.zeros(1), np.array([AT_MS]), [None])[0, 5]
    features[:, FEATURES.index("hour")] = hour
    np.testing.assert_array_equal(np.concatenate(found), ranker.score(features))


def test_columns_of_another_code_are_refused(ranker: Ranker) -> None:
    """A replica from before sends all columns; to score the wrong ones would give an order that looks plausible."""
    with pytest.raises(ValueError, match=f"{8 * len(FEATURES)} features of 8 candidates, the ranker reads 2"):
        score_candidates(ranker, reply(np.zeros((8, len(FEATURES)), np.float32)), [NOBODY] * 3, [None] * 3)
