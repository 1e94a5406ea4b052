"""Items that the same users take up: co-occurrence weighed by BM25, the strongest of each item.

Okapi BM25 (Robertson and Zaragoza, 2009) over items as documents and users as their terms, as in `implicit`: a user of
many items says little of any two of them, and an item of many users is held back.
"""

import numpy as np
import scipy.sparse as sp
from numba import types

from models.compiled import compiled, reads, writes
from models.relations.top_k import TopK, keep_strongest, top_k_table

LONGEST = 200
"""Items of one user that count, a random choice where there are more. Pairs grow with the square of a history, so this
keeps the time taken linear in the events."""
_K1, _B = 1.2, 0.75


def fit_neighbours(seen: sp.csr_matrix, k: int, longest: int = LONGEST) -> TopK:
    """The `k` nearest items of each item.

    Args:
        seen: (n_users, n_items), stored entries count 1.
        longest: see `LONGEST`.
    """
    n_items = seen.shape[1]
    by_user = _cut(seen, longest)
    by_item = sp.csr_matrix(by_user.T)
    sizes, lengths = np.diff(by_item.indptr), np.diff(by_user.indptr)
    rarity = np.log1p(n_items / (1.0 + lengths))
    norms = (_K1 + 1.0) / (_K1 * (1.0 - _B + _B * sizes / max(sizes.mean(), 1e-9)) + 1.0)
    given = (
        by_user.indptr.astype(np.int64), by_user.indices.astype(np.int32),
        by_item.indptr.astype(np.int64), by_item.indices.astype(np.int32),
        rarity**2, norms.astype(np.float64),
    )  # fmt: skip

    def fill(first: int, items: np.ndarray, weights: np.ndarray, kept: np.ndarray) -> None:
        _fill_rows(*given, first, items, weights, kept)

    return top_k_table(n_items, k, fill)


def _cut(seen: sp.csr_matrix, longest: int) -> sp.csr_matrix:
    """The pairs, with at most `longest` of each user; column indices rise within a row."""
    rows = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))
    chance = np.random.default_rng(0).random(seen.nnz)
    order = np.lexsort((chance, rows))
    place = np.empty(seen.nnz, np.int64)
    place[order] = np.arange(seen.nnz) - np.repeat(seen.indptr[:-1].astype(np.int64), np.diff(seen.indptr))
    kept = place < longest
    pairs = (np.ones(int(kept.sum()), np.float32), (rows[kept], seen.indices[kept]))
    cut = sp.csr_matrix(pairs, shape=seen.shape)
    cut.sort_indices()
    return cut


@compiled(
    reads("i8"), reads("i4"), reads("i8"), reads("i4"), reads("f8"), reads("f8"), types.int64,
    writes("i4", 2), writes("f4", 2), writes("i8"),
)  # fmt: skip
def _fill_rows(
    user_edges: np.ndarray,
    user_items: np.ndarray,
    item_edges: np.ndarray,
    item_users: np.ndarray,
    rarity: np.ndarray,
    norms: np.ndarray,
    first: int,
    items: np.ndarray,
    weights: np.ndarray,
    lengths: np.ndarray,
) -> None:
    sums = np.zeros(len(norms))
    touched = np.empty(len(norms), np.int32)
    for row in range(len(items)):
        this, n_touched = first + row, 0
        for user in item_users[item_edges[this] : item_edges[this + 1]]:
            for other in user_items[user_edges[user] : user_edges[user + 1]]:
                if other != this:
                    if sums[other] == 0:
                        touched[n_touched] = other
                        n_touched += 1
                    sums[other] += rarity[user]
        for place in range(n_touched):
            sums[touched[place]] *= norms[this] * norms[touched[place]]
        lengths[row] = keep_strongest(sums, touched, n_touched, items[row], weights[row])
        for place in range(n_touched):
            sums[touched[place]] = 0.0
