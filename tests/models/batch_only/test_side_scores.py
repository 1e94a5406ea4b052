import numpy as np
import pytest
import scipy.sparse as sp

from models.batch_only.list_ranker import ListRankerParameters, fit_list_ranker
from models.batch_only.nearness import LARGEST, NEARNESS_FEATURES, SUMS, Nearness
from models.batch_only.side_scores import SIDE_FEATURES, SideScores
from models.batch_only.split_training import learning_splits
from models.batch_only.user_neighbours import UserNeighbours
from models.evaluation.baselines import fit_item_knn
from models.factors.als import AlsParameters
from models.ranking.features import FEATURES

PARAMETERS = AlsParameters(factors=4, regularization=1.0, alpha=4.0, iterations=3)


def test_what_stood_between_two_items_is_found_between_them() -> None:
    # Three users meet 0, 1, 2 in this order; 3 and 4 are met by others, far from there.
    user = np.repeat(np.arange(6), 3)
    item = np.array([0, 1, 2] * 3 + [3, 4, 0] * 3)
    nearness = Nearness(user, item, np.tile(np.arange(3), 6), 5)
    histories = [np.array([0, 2]), np.array([], int)]
    largest = nearness.largest(histories, np.tile(np.arange(5), (2, 1)))
    assert largest.shape == (len(LARGEST), 2, 5)
    between = largest[LARGEST.index("near_lift_between"), 0]
    assert between[1] == between[[1, 3, 4]].max() > between[3]
    sums = nearness.sums(histories)
    assert sums.shape == (len(SUMS), 2, 5)
    assert sums[SUMS.index("near_cosine"), 0, 1] > sums[SUMS.index("near_cosine"), 0, 4]
    assert not largest[:, 1].any()
    assert not sums[:, 1].any()


def test_the_step_between_two_items_counts_and_the_users_stay_apart() -> None:
    user, item = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 3, 4])
    near = Nearness(user, item, np.arange(5), 5).sums([np.array([0])])[SUMS.index("near_cosine"), 0]
    assert near[1] > near[2] > 0
    assert near[3] == near[4] == 0  # next in the rows, but of another user


@pytest.fixture
def weights() -> sp.csr_matrix:
    likes = np.random.default_rng(0).random((40, 30)) < 0.3
    likes[:, ::2] |= (np.arange(40) % 2 == 0)[:, None]
    likes[::5, :4] = False
    return sp.csr_matrix(likes.astype(np.float32))


def side(weights: sp.csr_matrix, threads: int = 1) -> SideScores:
    user, item = weights.nonzero()
    return SideScores(weights, PARAMETERS, user, item, np.arange(len(user)), seed=1, threads=threads)


def test_each_model_speaks_of_each_candidate(weights: sp.csr_matrix) -> None:
    users = np.array([3, 0])
    candidates = np.array([[5, 1, -1], [0, 2, 7]])
    histories = [weights[user].indices for user in users]
    found = side(weights).of(users, candidates, histories)
    assert found.shape == (2, 3, len(SIDE_FEATURES))
    assert np.isfinite(found[candidates >= 0]).all()
    scores = fit_item_knn(weights)(weights[users])
    expected = (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)
    np.testing.assert_allclose(found[1, :, SIDE_FEATURES.index("item_knn")], expected[1, candidates[1]], rtol=1e-4)


def test_factors_are_standardised_over_all_items(weights: sp.csr_matrix) -> None:
    users, everything = np.arange(40), np.tile(np.arange(30), (40, 1))
    found = side(weights).of(users, everything, [weights[user].indices for user in users])
    for name in ("als_small", "als_large", "als_flat", "user_knn"):
        scores = found[:, :, SIDE_FEATURES.index(name)]
        np.testing.assert_allclose(scores.mean(axis=1), 0, atol=1e-4)
        np.testing.assert_allclose(scores.std(axis=1), 1, rtol=1e-3)


def test_the_most_similar_users_speak_for_what_they_have(weights: sp.csr_matrix) -> None:
    neighbours, everything = 5, np.tile(np.arange(30), (40, 1))
    found = UserNeighbours(weights, neighbours).standard_scores(np.arange(40), everything)
    likes = weights.toarray().astype(float)
    length = np.sqrt(likes.sum(axis=1))
    cosine = likes @ likes.T / length[:, None] / length[None, :]
    cosine[cosine > 1 - 1e-9] = 0
    edge = np.sort(cosine, axis=1)[:, -neighbours, None]
    scores = np.where(cosine < edge, 0.0, cosine) @ likes
    expected = (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_user_without_neighbours_has_no_opinion() -> None:
    apart = sp.csr_matrix(np.eye(3, dtype=np.float32))
    assert not UserNeighbours(apart, 2).standard_scores(np.array([0, 2]), np.array([[0, 1], [2, -1]])).any()


def test_the_same_on_one_and_on_two_threads(weights: sp.csr_matrix) -> None:
    users, candidates = np.arange(40), np.tile(np.arange(30), (40, 1))
    histories = [weights[user].indices for user in users]
    one, two = (side(weights, threads).of(users, candidates, histories) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_a_large_catalogue_does_without_dense_models(weights: sp.csr_matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.batch_only.side_scores.LIMIT", 10)
    found = side(weights).of(np.array([0]), np.array([[1, 3]]), [weights[0].indices])
    known = dict(zip(SIDE_FEATURES, np.isfinite(found).all(axis=(0, 1)).tolist(), strict=True))
    assert [name for name, there in known.items() if there] == ["als_small", "als_large", "als_flat", "user_knn"]


def test_the_list_ranker_learns_and_repeats() -> None:
    generator = np.random.default_rng(0)
    features = generator.random((4000, 3), dtype=np.float32)
    relevant = generator.random(4000) < features[:, 1]
    parameters = ListRankerParameters(trees=30, smallest_leaf=50, feature_share=1.0)
    one, two = (fit_list_ranker(features, relevant, "abc", parameters, 5, threads) for threads in (1, 2))
    zero = np.zeros(4000, np.float32)
    np.testing.assert_array_equal(one.score(features, zero), two.score(features, zero))
    assert one.importance()["b"] > 0.8
    assert np.corrcoef(one.score(features, zero), features[:, 1])[0, 1] > 0.9
    pulled = one.score(features, features[:, 0]) - one.score(features, zero)
    np.testing.assert_allclose(pulled, parameters.first_stage * features[:, 0], atol=1e-5)
    with pytest.raises(ValueError, match="nothing to tell apart"):
        fit_list_ranker(features, np.zeros(4000, bool), "abc", parameters, 0)


def test_few_users_give_their_lists_in_more_splits() -> None:
    assert [learning_splits(n_users) for n_users in (10, 943, 3000, 50_000)] == [8, 8, 3, 2]


def test_no_feature_of_lists_from_one_table_has_the_name_of_another() -> None:
    """LightGBM refuses a table in which a name appears twice."""
    assert not set(NEARNESS_FEATURES) & set(FEATURES)
