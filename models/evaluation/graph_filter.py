"""GF-CF, a graph filter in closed form: what graph convolution does for recommendation, without any training.

Shen et al., "How Powerful is Graph Convolution for Recommendation?", CIKM 2021. With R the interactions as ones,
D_U and D_I the users' and items' counts on a diagonal, and N = D_U^-1/2 R D_I^-1/2, the scores of a history r are

    r N'N + strength * r D_I^-1/2 V V' D_I^1/2

V holds N's largest right singular vectors: the first term smooths over items that go together, the second keeps what
is common to the whole catalogue. Strength and rank are the paper's.
"""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from models.one_blas_thread import one_blas_thread

RANK = 256
STRENGTH = 0.3


def fit_graph_filter(
    train: sp.csr_matrix, rank: int = RANK, strength: float = STRENGTH, seed: int = 0
) -> Callable[[sp.csr_matrix], np.ndarray]:
    """A scorer of histories (n, n_items), giving (n, n_items) float64. N'N is never built: two sparse products do.

    Args:
        train: (n_users, n_items), stored entries count 1.
    """
    from sklearn.utils.extmath import randomized_svd

    ones = sp.csr_matrix((np.ones(train.nnz), train.indices, train.indptr), shape=train.shape)
    of_users, of_items = (np.asarray(ones.sum(axis=axis)).ravel() for axis in (1, 0))
    by_user, by_item = (
        np.divide(1.0, np.sqrt(count), out=np.zeros_like(count), where=count > 0) for count in (of_users, of_items)
    )
    normal = sp.csr_matrix(sp.diags(by_user) @ ones @ sp.diags(by_item))
    back = sp.csr_matrix(normal.T)
    rank = min(rank, min(train.shape) - 1)
    with one_blas_thread():  # sums must not depend on how many threads share them
        _, _, vectors = randomized_svd(normal, max(1, rank), random_state=seed)
    spread = np.sqrt(of_items)

    def scores(histories: sp.csr_matrix) -> np.ndarray:
        own = sp.csr_matrix((np.ones(histories.nnz), histories.indices, histories.indptr), shape=histories.shape)
        # Nearly every user shares an item with a long history: a dense matrix is several times faster from here on.
        near = (back @ (own @ back).toarray().T).T
        common = ((own @ sp.diags(by_item)) @ vectors.T) @ vectors
        return np.asarray(near + strength * common * spread)

    return scores
