import numpy as np
import pytest

from models.ranker import Ranker, RankerError, RankerParameters, check_features, fit_ranker
from models.ranking_features import FEATURES, FEATURES_HASH

PARAMETERS = RankerParameters(trees=30, smallest_leaf=5)


def lists(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """60 lists of 20; relevant is what has the largest `follows_last`, and chance decides everything else."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(1200, len(FEATURES))).astype(np.float32)
    signal = features[:, FEATURES.index("follows_last")].reshape(60, 20)
    relevant = (signal >= np.sort(signal, axis=1)[:, -3:-2]).ravel()
    return features, relevant, np.full(60, 20)


def test_the_deciding_feature_is_found() -> None:
    ranker = fit_ranker(*lists(), PARAMETERS, seed=0)
    features, relevant, _ = lists(seed=1)
    best = ranker.score(features).reshape(60, 20).argmax(axis=1)
    assert relevant.reshape(60, 20)[np.arange(60), best].mean() > 0.9
    importance = ranker.importance()
    assert max(importance, key=importance.__getitem__) == "follows_last"
    assert sum(importance.values()) == pytest.approx(1)


def test_the_same_data_and_seed_give_the_same_text_on_one_and_two_threads() -> None:
    one = fit_ranker(*lists(), PARAMETERS, seed=3, threads=1)
    two = fit_ranker(*lists(), PARAMETERS, seed=3, threads=2)
    # LightGBM writes its settings down too, and the number of threads is one.
    assert one.text == two.text.replace("[num_threads: 2]", "[num_threads: 1]")
    assert fit_ranker(*lists(), PARAMETERS, seed=4).text != one.text


def test_the_text_scores_as_the_fit_did() -> None:
    ranker = fit_ranker(*lists(), PARAMETERS, seed=0)
    features, *_ = lists(seed=2)
    features[::7, 3] = np.nan
    scores = Ranker(ranker.text).score(features)
    np.testing.assert_array_equal(scores, ranker.score(features))
    assert scores.dtype == np.float32
    # A micro-batch is scored as its parts are
    np.testing.assert_array_equal(scores[:20], ranker.score(features[:20]))
    assert len(ranker.score(features[:0])) == 0


def test_other_features_are_refused() -> None:
    text = fit_ranker(*lists(), PARAMETERS, seed=0).text
    with pytest.raises(RankerError, match="features"):
        Ranker(text.replace("hour", "minute"))
    with pytest.raises(RankerError, match="no LightGBM model"):
        Ranker("tree\n")
    with pytest.raises(RankerError, match="29 features given"):
        Ranker(text).score(np.zeros((1, 29), np.float32))
    check_features(FEATURES_HASH)
    with pytest.raises(RankerError, match="trained on features 0123"):
        check_features("0123")


def test_nothing_to_learn_from() -> None:
    features, _, lengths = lists()
    for relevant in (np.zeros(1200, bool), np.ones(1200, bool)):
        with pytest.raises(ValueError, match="no list holds"):
            fit_ranker(features, relevant, lengths, PARAMETERS, seed=0)
