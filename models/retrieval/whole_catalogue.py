"""The best items for many users at once, over the whole catalogue: for evaluation and for batch recommendations."""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from models.best_k import best_first, offer
from models.compiled import compiled, inner, reads, writes

_CELLS = 4_000_000  # scores held at once: 16 MB


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """The k best columns of each row, equal scores lower column first.

    Args:
        scores: (n, m) float, -inf where a column must not appear.
        k: how many.

    Returns:
        (n, k) int64, -1 where a row has fewer than k allowed columns.
    """
    result = np.full((len(scores), k), -1, np.int64)
    if scores.dtype == np.float32:
        _best_f4(np.ascontiguousarray(scores), result)
    else:
        _best_f8(np.ascontiguousarray(scores, np.float64), result)
    return result


@inner
def _best(scores: np.ndarray, result: np.ndarray) -> None:
    """One pass over each row with a heap of the best so far: sorting or masking whole rows costs several passes."""
    n_rows, n_columns = scores.shape
    k = result.shape[1]
    if k == 0:
        return
    values = np.empty(k, scores.dtype)
    for row in range(n_rows):
        columns = result[row]
        n = 0
        for column in range(n_columns):
            value = scores[row, column]
            if value > -np.inf and (n < k or value > values[0]):
                n = offer(values, columns, n, value, column)
        best_first(values, columns, n)


@compiled(reads("f4", 2), writes("i8", 2))
def _best_f4(scores: np.ndarray, result: np.ndarray) -> None:
    _best(scores, result)


@compiled(reads("f8", 2), writes("i8", 2))
def _best_f8(scores: np.ndarray, result: np.ndarray) -> None:
    _best(scores, result)


def recommend_factors(
    user_vectors: np.ndarray,
    item_factors: np.ndarray,
    seen: sp.csr_matrix,
    k: int,
    candidates: np.ndarray | None = None,
) -> np.ndarray:
    """Top k by inner product, without the items that each user has seen.

    Args:
        user_vectors: (n, f) float32.
        item_factors: (n_items, f) float32.
        seen: (n, n_items), stored entries are left out.
        k: how many.
        candidates: (n_items,) bool, items that may appear; None for all.

    Returns:
        (n, k) int64 item indices, best first, -1 where there are fewer.
    """
    n_items = len(item_factors)
    parts = []
    for rows in _blocks(len(user_vectors), n_items):
        scores = user_vectors[rows] @ item_factors.T
        parts.append(top_k(_without(scores, seen[rows], candidates), k))
    return np.concatenate(parts) if parts else np.empty((0, k), np.int64)


def recommend_scores(
    item_scores: np.ndarray, seen: sp.csr_matrix, k: int, candidates: np.ndarray | None = None
) -> np.ndarray:
    """Top k where every user has the same item scores (popularity); otherwise as `recommend_factors`.

    Args:
        item_scores: (n_items,) float.
    """
    parts = []
    for rows in _blocks(seen.shape[0], len(item_scores)):
        block = seen[rows]
        scores = np.tile(item_scores.astype(np.float64), (block.shape[0], 1))
        parts.append(top_k(_without(scores, block, candidates), k))
    return np.concatenate(parts) if parts else np.empty((0, k), np.int64)


def _without(scores: np.ndarray, seen: sp.csr_matrix, candidates: np.ndarray | None) -> np.ndarray:
    rows = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))
    scores[rows, seen.indices] = -np.inf
    if candidates is not None:
        scores[:, ~candidates] = -np.inf
    return scores


def _blocks(n: int, n_items: int) -> Iterator[slice]:
    step = max(1, _CELLS // max(1, n_items))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
