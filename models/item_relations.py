"""Relations between items that factors do not show: EASE's weights, and which item follows which.

EASE: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019. Both are dense (n, n) matrices, so they
are made for catalogues of at most `LIMIT` items; beyond that the ranker does without.
"""

from collections.abc import Sequence
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

    def scores(
        self, candidates: np.ndarray, histories: Sequence[np.ndarray], recent: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Scores of candidates by the history.

        Args:
            candidates: (B, k) int, >= 0; one that is not in the matrices gets 0.
            histories: for each request (m,) distinct items.
            recent: (B, r) the latest items, the latest first, -1 padded.

        Returns:
            (B, k) float32 each: EASE over the whole history, EASE over `recent`, follows over the latest 5, follows of
            the very latest.
        """
        last = np.zeros(candidates.shape, np.float32)
        known = candidates < self.n_items
        columns = np.where(known, candidates, 0)
        late_rows = [latest[(latest >= 0) & (latest < self.n_items)] for latest in recent]
        full_rows = [history[history < self.n_items] for history in histories]
        sums = _add_rows(self.ease, [*full_rows, *late_rows])
        full, late = (np.take_along_axis(half, columns, axis=1) for half in np.split(sums, 2))
        after = np.take_along_axis(_add_rows(self.follows, [latest[:5] for latest in late_rows]), columns, axis=1)
        for row, latest in enumerate(late_rows):
            if len(latest):
                last[row] = self.follows[latest[0]][columns[row]]
        for scores in (full, late, after, last):
            scores[~known] = 0
        return full, late, after, last


def _add_rows(matrix: np.ndarray, rows: Sequence[np.ndarray]) -> np.ndarray:
    """(len(rows), n) float32 sums of a matrix's rows. Whole rows: reading along one is far quicker than picking cells;
    and as a sparse product, which adds each to the sum where it lies instead of copying it first."""
    items = np.concatenate(rows)
    edges = np.cumsum([0, *(len(row) for row in rows)])
    chosen = sp.csr_matrix((np.ones(len(items), np.float32), items, edges), shape=(len(rows), len(matrix)))
    return np.asarray(chosen @ matrix)


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
