"""A user's vector at request time, from the history alone: the exact ALS solve against fixed item factors."""

from collections.abc import Sequence

import numpy as np
from scipy.linalg.lapack import sposv

PRIOR_LIMIT = 10  # the longest history that the prior helps, measured on protocol P3 (`models.evaluation.protocols`)


class FoldIn:
    """Solves ALS's normal equations for one user at a time, with the Gram matrix computed once.

    With c = alpha * weight ** weight_power over the history's items y:

        (Y'Y + reg I + sum (c - 1) y y') x = sum c y + prior_weight * reg * prior

    This is the user's half-step of Hu, Koren, Volinsky (2008). The last term draws users with little history towards
    the mean user: it is the same as regularising towards `prior_weight * prior` instead of zero. It is left out for
    histories of more than 10 items, where it measured no gain.

    Args:
        item_factors: (n_items, f) float32.
        regularization, alpha: those of the ALS fit.
        prior: (f,) mean user vector.
        prior_weight: 0 switches the prior off.
        weight_power: that of the fit.
    """

    def __init__(
        self,
        item_factors: np.ndarray,
        regularization: float,
        alpha: float,
        prior: np.ndarray,
        prior_weight: float = 0.5,
        weight_power: float = 1.0,
    ) -> None:
        self.item_factors = np.ascontiguousarray(item_factors, np.float32)
        self.n_factors = self.item_factors.shape[1]
        self.alpha = np.float32(alpha)
        self._power = np.float32(weight_power)
        gram = (self.item_factors.T @ self.item_factors).astype(np.float32)
        gram[np.diag_indices(self.n_factors)] += np.float32(regularization)
        self._gram = gram
        if prior.shape != (self.n_factors,):
            raise ValueError(f"prior has shape {prior.shape}, the factors need ({self.n_factors},)")
        self._pull = (prior_weight * regularization * prior).astype(np.float32) if prior_weight > 0 else None

    def solve(self, items: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of a batch of users.

        Args:
            items: for each of B users, (m,) distinct int item indices; entries of weight 0 are left out.
            weights: for each user, (m,) float32, >= 0.

        Returns:
            vectors (B, f) float32, and known (B,) bool. Without a single positive weight a user has no vector:
            known is False and the row is zeros, which must not be ranked by (every item would score 0).

        Raises:
            FloatingPointError: the equations have no finite solution; the factors or weights are damaged.
        """
        vectors = np.zeros((len(items), self.n_factors), np.float32)
        known = np.zeros(len(items), bool)
        for row, (history, weight) in enumerate(zip(items, weights, strict=True)):
            if np.count_nonzero(weight) < len(weight):
                used = weight > 0
                history, weight = history[used], weight[used]
            if len(history) == 0:
                continue
            system, target = self._equations(history, weight)
            if self._pull is not None and len(history) <= PRIOR_LIMIT:
                target += self._pull
            # The system is symmetric, so its transpose is itself in the order that LAPACK wants, without a copy.
            _, solution, info = sposv(system.T, target, overwrite_a=True, overwrite_b=True)
            if info != 0:
                raise FloatingPointError(f"the fold-in of user {row} of the batch has no solution (LAPACK info {info})")
            vectors[row] = solution
            known[row] = True
        if not np.isfinite(vectors).all():
            bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
            raise FloatingPointError(f"the fold-in of user {bad[0]} of the batch is not finite")
        return vectors, known

    def contributions(self, items: np.ndarray, weights: np.ndarray, of: np.ndarray) -> np.ndarray:
        """How much each item of a history adds to the score of other items.

        The score of item i is y_i' A^-1 (sum over the history of c y), with A the matrix of the equations: it falls
        apart into one term for each item of the history (Hu, Koren, Volinsky 2008, section 5).

        Args:
            items: (m,) distinct item indices, with `weights` (m,) float32 > 0.
            of: (k,) item indices to explain.

        Returns:
            (k, m) float32. A row's sum is the item's score, less what the prior adds to it.
        """
        system, _ = self._equations(items, weights)
        _, solved, info = sposv(system.T, np.asfortranarray(self.item_factors[of].T), overwrite_a=True)
        if info != 0:
            raise FloatingPointError(f"the explanation has no solution (LAPACK info {info})")
        terms = self._confidence(weights)[:, None] * self.item_factors[items]
        return np.asarray((terms @ solved).T, np.float32)

    def _equations(self, items: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The matrix (f, f) and the right-hand side (f,) without the prior."""
        confidence = self._confidence(weights)
        factors = self.item_factors[items]
        return self._gram + (factors.T * (confidence - np.float32(1))) @ factors, confidence @ factors

    def _confidence(self, weights: np.ndarray) -> np.ndarray:
        if self._power == 1:  # the usual case, and a power costs as much as the rest of the equations' right-hand side
            return weights * self.alpha
        return np.power(weights, self._power) * self.alpha
