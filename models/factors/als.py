"""Implicit-feedback matrix factorisation by alternating least squares.

Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008; computed by `implicit`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from implicit.recommender_base import ModelFitError
from pydantic import BaseModel, ConfigDict, Field

from models.one_blas_thread import one_blas_thread


class AlsParameters(BaseModel):
    """What defines an ALS fit beside its data and its seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factors: int = Field(default=64, ge=1, le=1024, description="length of a user's or an item's vector")
    regularization: float = Field(default=50.0, gt=0, description="pull of every vector towards zero")
    alpha: float = Field(default=8.0, gt=0, description="confidence of an interaction of weight 1; an absent one has 1")
    iterations: int = Field(default=15, ge=1, le=1000)
    weight_power: float = Field(
        default=1.0, ge=0, le=2, description="how much weights differ: 0 lets every positive interaction count alike"
    )


@dataclass(frozen=True)
class AlsFactors:
    """The fitted vectors.

    Attributes:
        user_factors: (n_users, f) float32.
        item_factors: (n_items, f) float32.
    """

    user_factors: np.ndarray
    item_factors: np.ndarray


def fit_als(weights: sp.csr_matrix, parameters: AlsParameters, seed: int, threads: int = 1) -> AlsFactors:
    """Fit user and item vectors.

    The result depends on `weights`, `parameters` and `seed` only, not on `threads`: each row is solved on its own,
    BLAS is held to one thread (its sums depend on how it splits them), and the first vectors come from an explicit
    generator.

    Args:
        weights: (n_users, n_items) float32, all > 0 where stored; see `models.factors.interest`. The confidence given
            to the solver is `alpha * weight ** weight_power`.
        parameters: what the fit depends on beside the data.
        seed: seeds the first vectors.
        threads: rows solved at once; 0 for all cores.

    Raises:
        ValueError: no interactions, or a weight that is not positive and finite.
        FloatingPointError: the vectors grew beyond all numbers; the parameters do not fit the data.
    """
    (factors,) = fit_als_in_steps(weights, parameters, seed, [parameters.iterations], threads)
    return factors


def fit_als_in_steps(
    weights: sp.csr_matrix, parameters: AlsParameters, seed: int, moments: Sequence[int], threads: int = 1
) -> Iterator[AlsFactors]:
    """The vectors of one fit after each of these numbers of iterations; otherwise as `fit_als`.

    Args:
        moments: rising, at least 1.

    Yields:
        the vectors, which the next step changes in place.
    """
    if weights.nnz == 0:
        raise ValueError("there are no interactions to learn from")
    confidence = sp.csr_matrix(weights, dtype=np.float32, copy=True)
    if not np.isfinite(confidence.data).all() or confidence.data.min() <= 0:
        raise ValueError("every stored weight must be positive and finite")
    confidence.data = np.power(confidence.data, np.float32(parameters.weight_power)) * np.float32(parameters.alpha)
    n_users, n_items = confidence.shape
    generator = np.random.default_rng(seed)
    user_factors = generator.random((n_users, parameters.factors), dtype=np.float32) * np.float32(0.01)
    item_factors = generator.random((n_items, parameters.factors), dtype=np.float32) * np.float32(0.01)
    done = 0
    for moment in moments:
        with one_blas_thread():
            model = AlternatingLeastSquares(
                factors=parameters.factors,
                regularization=parameters.regularization,
                alpha=1.0,
                iterations=moment - done,
                num_threads=threads,
            )
            model.user_factors, model.item_factors = user_factors, item_factors
            try:
                model.fit(confidence, show_progress=False)
            except ModelFitError as error:
                raise FloatingPointError(f"the fit has no finite solution with {parameters}") from error
        done = moment
        yield AlsFactors(model.user_factors, model.item_factors)
