import numpy as np
import pytest
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from models.factors.fold_in import PRIOR_LIMIT, FoldIn

N_ITEMS, N_FACTORS, REG, ALPHA = 300, 16, 20.0, 6.0


@pytest.fixture(scope="module")
def item_factors() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.3, (N_ITEMS, N_FACTORS)).astype(np.float32)


@pytest.fixture(scope="module")
def histories() -> tuple[list[np.ndarray], list[np.ndarray]]:
    generator = np.random.default_rng(1)
    items = [np.sort(generator.choice(N_ITEMS, m, replace=False)) for m in (1, 2, 10, 11, 60, 299)]
    return items, [generator.choice([0.1, 0.5, 1.0], len(i)).astype(np.float32) for i in items]


def test_it_is_the_solve_of_implicit(item_factors: np.ndarray, histories: tuple) -> None:
    items, weights = histories
    fold_in = FoldIn(item_factors, REG, ALPHA, item_factors.mean(axis=0), prior_weight=0.0)
    vectors, known = fold_in.solve(items, weights)

    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(factors=N_FACTORS, regularization=REG, alpha=1.0, num_threads=1)
    model.item_factors = item_factors
    rows = np.repeat(np.arange(len(items)), [len(i) for i in items])
    confidence = sp.csr_matrix(
        (ALPHA * np.concatenate(weights), (rows, np.concatenate(items))), shape=(len(items), N_ITEMS), dtype=np.float32
    )
    expected = model.recalculate_user(np.arange(len(items)), confidence)
    assert known.all()
    np.testing.assert_allclose(vectors, expected, atol=1e-5, rtol=0)


def test_the_prior_is_the_documented_equation(item_factors: np.ndarray) -> None:
    prior = np.random.default_rng(2).normal(0, 1, N_FACTORS).astype(np.float32)
    fold_in = FoldIn(item_factors, REG, ALPHA, prior, prior_weight=0.5)
    history, weight = np.array([3, 8]), np.array([1.0, 0.5], np.float32)
    y, c = item_factors[history].astype(float), ALPHA * weight.astype(float)
    gram = item_factors.T.astype(float) @ item_factors
    system = gram + REG * np.eye(N_FACTORS) + (y.T * (c - 1)) @ y
    expected = np.linalg.solve(system, y.T @ c + 0.5 * REG * prior)
    np.testing.assert_allclose(fold_in.solve([history], [weight])[0][0], expected, atol=1e-4)


def test_the_prior_is_for_short_histories_only(item_factors: np.ndarray) -> None:
    prior = np.ones(N_FACTORS, np.float32)
    plain, pulled = (FoldIn(item_factors, REG, ALPHA, prior, w) for w in (0.0, 0.5))
    for length, differs in ((PRIOR_LIMIT, True), (PRIOR_LIMIT + 1, False)):
        history, weight = [np.arange(length)], [np.ones(length, np.float32)]
        equal = np.allclose(plain.solve(history, weight)[0], pulled.solve(history, weight)[0])
        assert equal != differs


def test_an_empty_history_has_no_vector(item_factors: np.ndarray) -> None:
    fold_in = FoldIn(item_factors, REG, ALPHA, np.ones(N_FACTORS, np.float32))
    none, weightless = np.zeros(0, int), np.array([4])
    vectors, known = fold_in.solve(
        [none, np.array([1]), weightless],
        [np.zeros(0, np.float32), np.ones(1, np.float32), np.zeros(1, np.float32)],
    )
    assert known.tolist() == [False, True, False]
    assert not vectors[[0, 2]].any()
    assert vectors[1].any()


def test_entries_of_weight_zero_say_nothing(item_factors: np.ndarray) -> None:
    fold_in = FoldIn(item_factors, REG, ALPHA, np.zeros(N_FACTORS, np.float32))
    with_zero = fold_in.solve([np.array([1, 2, 3])], [np.array([1.0, 0.0, 1.0], np.float32)])[0]
    np.testing.assert_array_equal(with_zero, fold_in.solve([np.array([1, 3])], [np.ones(2, np.float32)])[0])


def test_a_batch_is_its_users_one_by_one(item_factors: np.ndarray, histories: tuple) -> None:
    fold_in = FoldIn(item_factors, REG, ALPHA, item_factors.mean(axis=0))
    together = fold_in.solve(*histories)[0]
    alone = np.vstack([fold_in.solve([i], [w])[0] for i, w in zip(*histories, strict=True)])
    np.testing.assert_array_equal(together, alone)


def test_damaged_factors_raise(item_factors: np.ndarray) -> None:
    damaged = item_factors.copy()
    damaged[5, 0] = np.nan
    fold_in = FoldIn(damaged, REG, ALPHA, np.zeros(N_FACTORS, np.float32))
    with pytest.raises(FloatingPointError):
        fold_in.solve([np.array([1])], [np.ones(1, np.float32)])


def test_a_prior_of_another_length_is_refused(item_factors: np.ndarray) -> None:
    with pytest.raises(ValueError, match="prior has shape"):
        FoldIn(item_factors, REG, ALPHA, np.zeros(3, np.float32))


def test_contributions_of_the_history_add_up_to_the_score(item_factors: np.ndarray) -> None:
    fold_in = FoldIn(item_factors, REG, ALPHA, np.zeros(N_FACTORS, np.float32))
    items, weights = np.array([3, 1, 7]), np.array([1.0, 0.5, 0.2], np.float32)
    of = np.array([0, 5, 9, 2])
    vector = fold_in.solve([items], [weights])[0][0]
    parts = fold_in.contributions(items, weights, of)
    assert parts.shape == (4, 3)
    np.testing.assert_allclose(parts.sum(axis=1), item_factors[of] @ vector, rtol=1e-4, atol=1e-5)


def test_the_prior_is_no_contribution(item_factors: np.ndarray) -> None:
    items, weights, of = np.array([3, 1]), np.ones(2, np.float32), np.array([0, 5])
    plain = FoldIn(item_factors, REG, ALPHA, np.zeros(N_FACTORS, np.float32))
    drawn = FoldIn(item_factors, REG, ALPHA, item_factors.mean(axis=0))
    np.testing.assert_array_equal(plain.contributions(items, weights, of), drawn.contributions(items, weights, of))


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_a_weight_power_is_the_same_as_weights_raised_to_it(item_factors: np.ndarray, power: float) -> None:
    items, weights = np.array([3, 1, 7]), np.array([1.0, 0.5, 0.2], np.float32)
    prior = item_factors.mean(axis=0)
    powered = FoldIn(item_factors, REG, ALPHA, prior, weight_power=power)
    plain = FoldIn(item_factors, REG, ALPHA, prior)
    raised = np.power(weights, np.float32(power))
    np.testing.assert_allclose(
        powered.solve([items], [weights])[0], plain.solve([items], [raised])[0], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        powered.contributions(items, weights, np.array([0, 5])),
        plain.contributions(items, raised, np.array([0, 5])),
        rtol=1e-4,
        atol=1e-6,
    )
