"""Relations between items that factors do not show: EASE's weights, and which item follows which.

EASE: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019. Both are dense (n, n) matrices, so they
are made for catalogues of at most `LIMIT` items; beyond that the ranker does without.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

LIMIT = 4000
EASE_LAMBDA = 600.0
REACH = 5  # how many steps ahead an item still counts as following
_FOLLOWS_PRIOR = 20.0


@dataclass(frozen=True)
class ItemRelations:
    """The two matrices, row: item of the history, column: candidate.

    Attributes:
        ease: (n, n) float32, zero on the diagonal.
        follows: (n, n) float32, how much more often the column follows the row soon than its popularity explains.
    """

    ease: np.ndarray
    follows: np.ndarray

    @property
    def n_items(self) -> int:
        return len(self.ease)


def fit_relations(
    seen: sp.csr_matrix, user: np.ndarray, item: np.ndarray, times_ms: np.ndarray, ease_lambda: float = EASE_LAMBDA
) -> ItemRelations | None:
    """Both matrices, or None for more than `LIMIT` items.

    Args:
        seen: (n_users, n_items), stored entries count 1.
        user, item, times_ms: (e,) events with positive weight, for the order.
    """
    n_items = seen.shape[1]
    if n_items > LIMIT:
        return None
    return ItemRelations(fit_ease(seen, ease_lambda), fit_follows(user, item, times_ms, n_items))


def fit_ease(seen: sp.csr_matrix, ease_lambda: float = EASE_LAMBDA) -> np.ndarray:
    """(n_items, n_items) float32: B with the score of item j = sum over the history's items i of B[i, j].

    With P = (X'X + lambda I)^-1, B[i, j] = -P[i, j] / P[j, j] off the diagonal (Steck 2019, eq. 8).
    """
    ones = sp.csr_matrix((np.ones(seen.nnz), seen.indices, seen.indptr), shape=seen.shape)
    gram = np.asarray((ones.T @ ones).todense())
    gram[np.diag_indices(len(gram))] += ease_lambda
    with threadpool_limits(1, "blas"):  # its sums depend on how many threads share them
        inverse = scipy.linalg.inv(gram, overwrite_a=True, check_finite=False)
    weights = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0.0)
    return np.ascontiguousarray(weights, np.float32)


def fit_follows(user: np.ndarray, item: np.ndarray, times_ms: np.ndarray, n_items: int) -> np.ndarray:
    """(n_items, n_items) float32: log of how often j comes within `REACH` steps after i, against chance.

    A step weighs 1 / its distance. Items of one moment have no order, so they count as following one another.
    The counts are drawn towards what popularity alone would give, so that rare pairs say little.
    """
    order = np.lexsort((item, times_ms, user))
    user, item, times_ms = user[order], item[order], times_ms[order]
    counts = np.zeros((n_items, n_items))
    for step in range(1, REACH + 1):
        same = np.flatnonzero(user[step:] == user[:-step])
        before, after = item[same], item[same + step]
        np.add.at(counts, (before, after), 1.0 / step)
        tied = times_ms[same] == times_ms[same + step]
        np.add.at(counts, (after[tied], before[tied]), 1.0 / step)
    np.fill_diagonal(counts, 0.0)
    total = counts.sum()
    share = counts.sum(axis=0) / total if total > 0 else np.zeros(n_items)
    expected = counts.sum(axis=1, keepdims=True) * share
    return np.log((counts + _FOLLOWS_PRIOR * share + 1e-9) / (expected + _FOLLOWS_PRIOR * share + 1e-9)).astype(
        np.float32
    )
