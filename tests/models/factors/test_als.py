import numpy as np
import pytest
import scipy.sparse as sp
from pydantic import ValidationError

from models.factors.als import AlsParameters, fit_als
from models.retrieval.whole_catalogue import top_k


def checkerboard(n: int) -> sp.csr_matrix:
    """Users like the items of their own parity; the diagonal is held out. The right answer is the diagonal."""
    likes = np.fromfunction(lambda u, i: (u + i) % 2 == 0, (n, n)).astype(np.float32)
    np.fill_diagonal(likes, 0.0)
    return sp.csr_matrix(likes)


def test_the_checkerboard_has_the_diagonal_missing() -> None:
    weights = checkerboard(50)
    factors = fit_als(weights, AlsParameters(factors=3, regularization=0.1, alpha=2.0, iterations=15), seed=1)
    scores = factors.user_factors @ factors.item_factors.T
    scores[weights.nonzero()] = -np.inf
    assert top_k(scores, 1)[:, 0].tolist() == list(range(50))


def test_the_result_depends_on_the_seed_and_not_on_the_threads() -> None:
    weights = sp.random(200, 120, density=0.1, format="csr", rng=np.random.default_rng(0), dtype=np.float32)
    parameters = AlsParameters(factors=16, regularization=5.0, alpha=4.0, iterations=5)
    one, two = fit_als(weights, parameters, 7, threads=1), fit_als(weights, parameters, 7, threads=2)
    np.testing.assert_array_equal(one.user_factors, two.user_factors)
    np.testing.assert_array_equal(one.item_factors, two.item_factors)
    other = fit_als(weights, parameters, 8)
    assert not np.array_equal(one.item_factors, other.item_factors)


def test_alpha_scales_the_weights() -> None:
    weights = checkerboard(20)
    one = fit_als(weights, AlsParameters(factors=4, regularization=1.0, alpha=6.0, iterations=3), 0)
    other = fit_als(weights * 2, AlsParameters(factors=4, regularization=1.0, alpha=3.0, iterations=3), 0)
    np.testing.assert_allclose(one.item_factors, other.item_factors, rtol=1e-5, atol=1e-7)


def test_the_callers_matrix_stays_as_it_was() -> None:
    weights = checkerboard(10)
    before = weights.data.copy()
    fit_als(weights, AlsParameters(factors=2, iterations=1), 0)
    np.testing.assert_array_equal(weights.data, before)


def test_no_interactions_or_bad_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="no interactions"):
        fit_als(sp.csr_matrix((3, 3), dtype=np.float32), AlsParameters(), 0)
    for bad in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="positive and finite"):
            fit_als(sp.csr_matrix((np.array([bad], np.float32), ([0], [0])), shape=(2, 2)), AlsParameters(), 0)


def test_a_misspelt_parameter_is_refused() -> None:
    with pytest.raises(ValidationError, match="regularisation"):
        AlsParameters(regularisation=3.0)  # type: ignore[call-arg]


def test_the_weight_power_decides_how_much_weights_differ() -> None:
    matrix = sp.random(60, 40, 0.2, "csr", np.float32, random_state=1)
    matrix.data = np.random.default_rng(1).choice(np.array([0.2, 0.5, 1.0], np.float32), matrix.nnz)
    ones = matrix.copy()
    ones.data[:] = 1

    def fitted(weights: sp.csr_matrix, power: float) -> np.ndarray:
        parameters = AlsParameters(factors=4, regularization=1.0, alpha=4.0, iterations=3, weight_power=power)
        return fit_als(weights, parameters, seed=0).item_factors

    np.testing.assert_array_equal(fitted(matrix, 0.0), fitted(ones, 1.0))
    assert not np.allclose(fitted(matrix, 1.0), fitted(ones, 1.0))
