"""Sparse user-item matrices from pairs."""

import numpy as np
import scipy.sparse as sp


def pairs_to_csr(
    users: np.ndarray, items: np.ndarray, weights: np.ndarray, n_users: int, n_items: int
) -> sp.csr_matrix:
    """(n_users, n_items) float32 with the positive weights; pairs of weight 0 are not stored.

    Args:
        users, items: (p,) int, distinct pairs.
        weights: (p,) float, >= 0.
    """
    used = weights > 0
    values = weights[used].astype(np.float32)
    matrix = sp.csr_matrix((values, (users[used], items[used])), shape=(n_users, n_items))
    matrix.sort_indices()
    return matrix


def pairs_to_mask(users: np.ndarray, items: np.ndarray, n_users: int, n_items: int) -> sp.csr_matrix:
    """(n_users, n_items) with an entry for each pair, whatever it weighs; repeated pairs count once."""
    matrix = sp.csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=(n_users, n_items))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
