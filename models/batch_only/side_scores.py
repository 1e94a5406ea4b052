"""Scores of candidates by other models than the one that found them: what a second stage can learn to weigh.

ALS with fewer and more factors and without weights, EASE over the weights, neighbours of items and of users, random
walks of three steps (RP3beta: Paudel et al., "Updatable, Accurate, Diverse, and Scalable Recommendations", ACM TiiS
2016), and nearness in the users' own order. Too dear for requests; for lists that are made ahead of time.
"""

from collections.abc import Sequence

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.batch_only.nearness import NEARNESS_FEATURES, Nearness
from models.batch_only.user_neighbours import UserNeighbours
from models.factors.als import AlsFactors, AlsParameters, fit_als
from models.ranking.item_relations import EASE_LAMBDA, LIMIT

_FACTOR_MODELS = ("als_small", "als_large", "als_flat")
_ITEM_MODELS = ("ease_weighted", "item_knn", "rp3beta")
SIDE_FEATURES = (*_FACTOR_MODELS, "user_knn", *_ITEM_MODELS, *NEARNESS_FEATURES)
_USER_KNN = len(_FACTOR_MODELS)
_ALL_ITEMS = _USER_KNN + 1  # from here on scores are computed for all items, and standardised by these
_NOT_STANDARD = len(SIDE_FEATURES) - 2  # the last two are not standardised: their size says something by itself
NEIGHBOURS = 100
_RP3_BETA = 0.6
_BLOCK = 256  # users whose scores of all items are held at once


class SideScores:
    """All those models, fitted on the same weights.

    Args:
        weights: (n_users, n_items) as ALS was fitted on.
        parameters: those of that ALS.
        user, item, times_ms: (e,) the events behind the weights, for nearness.
        seed: seeds the factor models.
        threads: rows solved at once, 0 for all cores.
    """

    def __init__(
        self,
        weights: sp.csr_matrix,
        parameters: AlsParameters,
        user: np.ndarray,
        item: np.ndarray,
        times_ms: np.ndarray,
        seed: int,
        threads: int = 0,
    ) -> None:
        self._weights = weights
        self._ones = sp.csr_matrix(
            (np.ones(weights.nnz, np.float32), weights.indices, weights.indptr), shape=weights.shape
        )
        changes: tuple[dict[str, float], ...] = (
            {"factors": max(1, parameters.factors // 4), "regularization": parameters.regularization / 2},
            {"factors": 2 * parameters.factors},
            {"weight_power": 0.0, "regularization": 1.5 * parameters.regularization, "alpha": 2 * parameters.alpha},
        )
        self._factors = [
            _StandardFactors(fit_als(weights, AlsParameters(**{**parameters.model_dump(), **change}), seed, threads))
            for change in changes
        ]
        self._neighbours = UserNeighbours(self._ones, NEIGHBOURS)
        self._by_item: list[np.ndarray] | None = None
        self._nearness: Nearness | None = None
        if weights.shape[1] <= LIMIT:
            with threadpool_limits(1, "blas"):  # sums must not depend on how many threads share them
                found = _weighted_ease(weights), _item_knn(self._ones), _rp3beta(self._ones)
            # Row by row in memory: every product with rows of users would copy a matrix that is not.
            self._by_item = [np.ascontiguousarray(one) for one in found]
            self._nearness = Nearness(user, item, times_ms, weights.shape[1])

    def of(self, users: np.ndarray, candidates: np.ndarray, histories: Sequence[np.ndarray]) -> np.ndarray:
        """(B, k, len(SIDE_FEATURES)) float32; NaN where a model has no opinion; padding is meaningless.

        Args:
            users: (B,) rows of `weights`.
            candidates: (B, k) items, -1 padded.
            histories: for each user the items in order of time.
        """
        found = np.full((*candidates.shape, len(SIDE_FEATURES)), np.nan, np.float32)
        for start in range(0, len(users), _BLOCK):
            part = slice(start, start + _BLOCK)
            who, items = users[part], np.maximum(candidates[part], 0)
            for place, factors in enumerate(self._factors):
                found[part, :, place] = factors.of(who, items)
            found[part, :, _USER_KNN] = self._neighbours.standard_scores(who, items)
            if self._by_item is None or self._nearness is None:
                continue
            for place, scores in enumerate(self._of_all_items(who, histories[part]), _ALL_ITEMS):
                found[part, :, place] = np.take_along_axis(_standard(scores), items, axis=1)
            largest = self._nearness.largest(histories[part], items)
            found[part, :, _NOT_STANDARD:] = largest.transpose(1, 2, 0)
        return found

    def _of_all_items(self, users: np.ndarray, histories: Sequence[np.ndarray]) -> list[np.ndarray]:
        assert self._by_item is not None
        assert self._nearness is not None
        weighted, *plain = self._by_item
        found = [np.asarray(self._weights[users] @ weighted)]
        found += [np.asarray(self._ones[users] @ matrix) for matrix in plain]
        return found + list(self._nearness.sums(histories))


class _StandardFactors:
    """Inner products, less their mean over all items and over their deviation, computed for some items alone."""

    def __init__(self, factors: AlsFactors) -> None:
        self._factors = factors
        items = factors.item_factors.astype(np.float64)
        self._mean = items.mean(axis=0)
        items -= self._mean
        self._covariance = items.T @ items / len(items)

    def of(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """(B, k) of these users and items (B, k)."""
        vectors = self._factors.user_factors[users]
        scores = np.einsum("bf,bkf->bk", vectors, self._factors.item_factors[items], optimize=True)
        wide = vectors.astype(np.float64)
        deviation = np.sqrt(np.maximum(((wide @ self._covariance) * wide).sum(axis=1, keepdims=True), 0.0))
        return np.asarray((scores - (wide @ self._mean)[:, None]) / np.where(deviation > 0, deviation, 1))


def _standard(scores: np.ndarray) -> np.ndarray:
    """Each row less its mean, over its standard deviation."""
    deviation = scores.std(axis=1, keepdims=True)
    return (scores - scores.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)


def _weighted_ease(weights: sp.csr_matrix) -> np.ndarray:
    """(n_items, n_items) float32: `models.ranking.item_relations.fit_ease` over the weights instead of ones."""
    wide = weights.astype(np.float64)
    gram = np.asarray((wide.T @ wide).todense())
    gram[np.diag_indices(len(gram))] += EASE_LAMBDA
    inverse = scipy.linalg.inv(gram, overwrite_a=True, check_finite=False)
    found = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(found, 0.0)
    return found.astype(np.float32)


def _item_knn(ones: sp.csr_matrix) -> np.ndarray:
    """(n_items, n_items) cosines, of each column's item only the largest."""
    together = np.asarray((ones.T @ ones).todense(), np.float64)
    length = np.sqrt(np.diag(together))
    scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    cosine = together * scale[:, None] * scale[None, :]
    np.fill_diagonal(cosine, 0.0)
    return _largest(cosine, NEIGHBOURS).T.astype(np.float32)


def _rp3beta(ones: sp.csr_matrix) -> np.ndarray:
    by_user = np.maximum(np.asarray(ones.sum(axis=1)).ravel(), 1.0)
    by_item = np.maximum(np.asarray(ones.sum(axis=0)).ravel(), 1.0)
    to_item = sp.diags(1 / by_user) @ ones
    walk = np.asarray((sp.diags(1 / by_item) @ (ones.T @ to_item)).todense())
    np.fill_diagonal(walk, 0.0)
    return (walk / by_item[None, :] ** _RP3_BETA).astype(np.float32)


def _largest(values: np.ndarray, n: int) -> np.ndarray:
    """Each row with all but its n largest values set to 0."""
    if n >= values.shape[1]:
        return values
    edge = np.partition(values, -n, axis=1)[:, -n, None]
    return np.where(values < edge, 0.0, values)
