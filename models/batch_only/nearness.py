"""Which items people meet close together: pairs counted by how few steps lie between them in one user's order.

For data whose held-out part lies among what is known, not after it: an item that others met next to two neighbours in
this user's order was probably met between them. Dense (n, n) matrices, so for at most
`models.ranking.item_relations.LIMIT` items.
"""

from collections.abc import Sequence

import numpy as np

from models.compiled import compiled, reads, writes

REACH = 15  # items at most this many steps apart are a pair
_FADE = 5.0  # steps after which a pair counts 1/e as much
_PRIOR = 5.0  # every item starts with this many pairs, spread by popularity alone

SUMS = ("near_cosine", "near_lift")
LARGEST = ("near_lift_max", "near_lift_between")
NEARNESS_FEATURES = (*SUMS, *LARGEST)


class Nearness:
    """Two views of the same counts.

    Args:
        user, item, times_ms: (e,) events.
        n_items: how many items there are.
    """

    def __init__(self, user: np.ndarray, item: np.ndarray, times_ms: np.ndarray, n_items: int) -> None:
        order = np.lexsort((item, times_ms, user))
        user, item = user[order], item[order]
        counts = np.zeros((n_items, n_items))
        for step in range(1, REACH + 1):
            same = np.flatnonzero(user[step:] == user[:-step])
            np.add.at(counts, (item[same], item[same + step]), np.exp(-(step - 1) / _FADE))
        counts += counts.T
        total = counts.sum(axis=1)
        share = total / max(float(total.sum()), 1e-9)
        length = np.sqrt(total)
        scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
        expected = np.outer(total, share)
        lift = (counts + _PRIOR * share + 1e-9) / (expected + _PRIOR * share + 1e-9)
        self._cosine = (counts * scale[:, None] * scale[None, :]).astype(np.float32)
        self._log_lift = np.log(lift).astype(np.float32)
        self._above = np.log1p(lift).astype(np.float32)

    def sums(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """(len(SUMS), B, n_items) float32, of all items.

        Args:
            histories: for each request its items in order of time, (m,) int.
        """
        found = np.zeros((len(SUMS), len(histories), len(self._cosine)), np.float32)
        for matrix, block in zip((self._cosine, self._log_lift), found, strict=True):
            _add_rows(matrix, *_flat(histories), block)
        return found

    def largest(self, histories: Sequence[np.ndarray], candidates: np.ndarray) -> np.ndarray:
        """(len(LARGEST), B, k) float32, of the candidates (B, k); in the padding, -1, it is 0."""
        found = np.zeros((len(LARGEST), *candidates.shape), np.float32)
        _largest(self._above, *_flat(histories), np.ascontiguousarray(candidates, np.int64), found)
        return found


def _flat(histories: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All histories one after another, and where each begins and ends."""
    edges = np.cumsum([0, *(len(history) for history in histories)]).astype(np.int64)
    return np.concatenate([np.empty(0, np.int64), *histories]).astype(np.int64), edges


@compiled(reads("f4", 2), reads("i8"), reads("i8"), writes("f4", 2))
def _add_rows(matrix: np.ndarray, items: np.ndarray, edges: np.ndarray, found: np.ndarray) -> None:
    for row in range(len(found)):
        for item in items[edges[row] : edges[row + 1]]:
            for column in range(found.shape[1]):
                found[row, column] += matrix[item, column]


@compiled(reads("f4", 2), reads("i8"), reads("i8"), reads("i8", 2), writes("f4", 3))
def _largest(
    above: np.ndarray, items: np.ndarray, edges: np.ndarray, candidates: np.ndarray, found: np.ndarray
) -> None:
    for row in range(len(candidates)):
        start, end = edges[row], edges[row + 1]
        for place, candidate in enumerate(candidates[row]):
            if candidate >= 0:
                for step in range(start, end):
                    here = above[items[step], candidate]
                    found[0, row, place] = max(found[0, row, place], here)
                    if step > start:
                        both = here * above[items[step - 1], candidate]
                        found[1, row, place] = max(found[1, row, place], both)
