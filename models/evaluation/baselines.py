"""What a recommender has to beat: scores of all items for all users, without any learned factors."""

import numpy as np
import scipy.sparse as sp

from models.ranking.item_relations import fit_ease


def popularity_scores(weights: sp.csr_matrix) -> np.ndarray:
    """(n_items,) how many users have each item."""
    return np.bincount(weights.indices, minlength=weights.shape[1]).astype(np.float64)


def recent_popularity_scores(
    item: np.ndarray, times_ms: np.ndarray, n_items: int, half_life_ms: float = 604_800_000.0
) -> np.ndarray:
    """(n_items,) events, each halved with every half-life before the latest one."""
    age = (times_ms - times_ms.max()) / half_life_ms
    return np.bincount(item, np.exp2(age), minlength=n_items)


def item_knn_scores(train: sp.csr_matrix, histories: sp.csr_matrix, neighbours: int = 100) -> np.ndarray:
    """(n, n_items) float64: sum of the cosines of each item to the history's items.

    Args:
        train: (n_users, n_items), stored entries count 1.
        histories: (n, n_items), the items of each user who asks.
        neighbours: how many neighbours of each item are kept (Deshpande, Karypis, ACM TOIS 2004).
    """
    ones = _ones(train)
    together = np.asarray((ones.T @ ones).todense())
    length = np.sqrt(np.diag(together))
    scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    cosine = together * scale[:, None] * scale[None, :]
    np.fill_diagonal(cosine, 0.0)
    if neighbours < len(cosine):
        edge = np.partition(cosine, -neighbours, axis=1)[:, -neighbours, None]
        cosine[cosine < edge] = 0.0
    return np.asarray(_ones(histories) @ cosine.T)


def ease_scores(train: sp.csr_matrix, histories: sp.csr_matrix, ease_lambda: float = 600.0) -> np.ndarray:
    """(n, n_items) float32: EASE (Steck, WWW 2019); arguments as in `item_knn_scores`."""
    return np.asarray(_ones(histories) @ fit_ease(train, ease_lambda), np.float32)


def _ones(matrix: sp.csr_matrix) -> sp.csr_matrix:
    return sp.csr_matrix((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
