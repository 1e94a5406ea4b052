"""Relations between items that factors do not show: what goes with what, what comes after what, and EASE's weights.

EASE: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019. It and the matrix of what follows are
dense (n, n), so they are made for catalogues of at most `LIMIT` items. The sparse tables hold the strongest relations
of each item, for catalogues of any size; beyond `LIMIT` they stand in for the dense ones.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from models.one_blas_thread import one_blas_thread
from models.relations.neighbours import fit_neighbours
from models.relations.sequences import FOLLOWING, TOGETHER, fit_sequences
from models.relations.top_k import TopK

LIMIT = 4000
EASE_LAMBDA = 600.0
REACH = 5  # how many steps ahead an item still counts as following
_FOLLOWS_PRIOR = 20.0
_STRONGEST, _STRONGEST_OF_MANY = 100, 50  # relations of each item that the tables hold; the latter beyond _MANY items
_MANY = 100_000
TABLES = ("together", "following", "neighbours")


@dataclass(frozen=True)
class ItemRelations:
    """Row: item of the history, column: candidate.

    Attributes:
        ease: (n, n) float32, zero on the diagonal; None beyond `LIMIT` items, where `neighbours` stands in.
        follows: (n, n) float32, how much more often the column follows the row soon than its popularity explains; None
            beyond `LIMIT` items, where `following` stands in.
        together: what the same user takes up within ten minutes; None in a bundle of before there were tables, as are
            the next two.
        following: what comes within the next five events.
        neighbours: what the same users take up, whenever.
    """

    ease: np.ndarray | None
    follows: np.ndarray | None
    together: TopK | None = None
    following: TopK | None = None
    neighbours: TopK | None = None


def fit_relations(
    seen: sp.csr_matrix, user: np.ndarray, item: np.ndarray, times_ms: np.ndarray, ease_lambda: float = EASE_LAMBDA
) -> ItemRelations:
    """All relations; those that are dense for at most `LIMIT` items.

    Args:
        seen: (n_users, n_items), stored entries count 1.
        user, item, times_ms: (e,) events with positive weight, for the order.
    """
    n_items = seen.shape[1]
    k = _STRONGEST if n_items <= _MANY else _STRONGEST_OF_MANY
    small = n_items <= LIMIT
    return ItemRelations(
        fit_ease(seen, ease_lambda) if small else None,
        fit_follows(user, item, times_ms, n_items) if small else None,
        fit_sequences(user, item, times_ms, n_items, TOGETHER, k),
        fit_sequences(user, item, times_ms, n_items, FOLLOWING, k),
        fit_neighbours(seen, k),
    )


def relation_arrays(relations: ItemRelations) -> dict[str, np.ndarray]:
    """The arrays of `ranking.npz`, by name."""
    found = {name: array for name in ("ease", "follows") if (array := getattr(relations, name)) is not None}
    for name in TABLES:
        table: TopK | None = getattr(relations, name)
        if table is not None:
            found |= {f"{name}_{part}": array for part, array in vars(table).items()}
    return found


def relations_of(arrays: dict[str, np.ndarray]) -> ItemRelations | None:
    """The reverse of `relation_arrays`; None where there are none."""

    def matrix(name: str) -> np.ndarray | None:
        # Rows are read one after another; a matrix that lies column by column makes that far slower.
        return np.ascontiguousarray(arrays[name]) if name in arrays else None

    def table(name: str) -> TopK | None:
        if f"{name}_edges" not in arrays:
            return None
        return TopK(*(np.ascontiguousarray(arrays[f"{name}_{part}"]) for part in TopK.__dataclass_fields__))

    found = ItemRelations(matrix("ease"), matrix("follows"), *(table(name) for name in TABLES))
    return found if any(part is not None for part in vars(found).values()) else None


def check_relations(relations: ItemRelations, n_items: int) -> None:
    """Raises ValueError naming the array that does not fit."""
    for name in ("ease", "follows"):
        array: np.ndarray | None = getattr(relations, name)
        if array is not None and (
            array.shape != (n_items, n_items) or array.dtype != np.float32 or not np.isfinite(array).all()
        ):
            raise ValueError(f"{name} must be finite float32 {(n_items, n_items)}")
    for name in TABLES:
        table: TopK | None = getattr(relations, name)
        if table is not None:
            table.check(name, n_items)


def fit_ease(seen: sp.csr_matrix, ease_lambda: float = EASE_LAMBDA) -> np.ndarray:
    """(n_items, n_items) float32: B with the score of item j = sum over the history's items i of B[i, j].

    With P = (X'X + lambda I)^-1, B[i, j] = -P[i, j] / P[j, j] off the diagonal (Steck 2019, eq. 8).
    """
    ones = sp.csr_matrix((np.ones(seen.nnz), seen.indices, seen.indptr), shape=seen.shape)
    gram = np.asarray((ones.T @ ones).todense())
    gram[np.diag_indices(len(gram))] += ease_lambda
    with one_blas_thread():  # its sums depend on how many threads share them
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
