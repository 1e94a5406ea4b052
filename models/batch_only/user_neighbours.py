"""Scores by the users with the most similar histories, for the candidates alone: no row of all users is ever made."""

from math import sqrt

import numpy as np
import scipy.sparse as sp
from numba import types

from models.best_k import offer
from models.compiled import compiled, reads, writes

_TWIN = 1 - 1e-9  # a cosine beyond it is the user's own, or that of a double, who has nothing new


class UserNeighbours:
    """Cosines between the users of one matrix.

    Args:
        ones: (n_users, n_items), every stored entry is 1.
        neighbours: how many of the most similar users count; those equal to the last of them count too.
    """

    def __init__(self, ones: sp.csr_matrix, neighbours: int) -> None:
        by_item = ones.tocsc()
        self._n_items = ones.shape[1]
        self._neighbours = neighbours
        self._of_user = ones.indptr.astype(np.int64), ones.indices.astype(np.int64)
        self._of_item = by_item.indptr.astype(np.int64), by_item.indices.astype(np.int64)

    def standard_scores(self, users: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """(B, k) float32: the sum of the cosines of the neighbours who have the candidate, less the mean of all items'
        sums, over their standard deviation. In the padding it is meaningless.

        Args:
            users: (B,) rows of the matrix.
            candidates: (B, k) items, -1 padded.
        """
        found = np.zeros(candidates.shape, np.float32)
        _score(
            *self._of_user,
            *self._of_item,
            np.ascontiguousarray(users, np.int64),
            np.ascontiguousarray(candidates, np.int64),
            self._n_items,
            self._neighbours,
            found,
        )
        return found


@compiled(
    reads("i8"), reads("i8"), reads("i8"), reads("i8"), reads("i8"), reads("i8", 2), types.int64, types.int64,
    writes("f4", 2),
)  # fmt: skip
def _score(
    user_edges: np.ndarray,
    user_items: np.ndarray,
    item_edges: np.ndarray,
    item_users: np.ndarray,
    users: np.ndarray,
    candidates: np.ndarray,
    n_items: int,
    neighbours: int,
    found: np.ndarray,
) -> None:
    n_users = len(user_edges) - 1
    shared = np.zeros(n_users)  # items that a user has in common with the one who asks
    met = np.empty(n_users, np.int64)
    scores = np.zeros(n_items)
    scored = np.empty(n_items, np.int64)
    near, nearest = np.empty(neighbours), np.empty(neighbours, np.int64)
    for row, user in enumerate(users):
        n_met = 0
        own = user_items[user_edges[user] : user_edges[user + 1]]
        for item in own:
            for other in item_users[item_edges[item] : item_edges[item + 1]]:
                if shared[other] == 0:
                    met[n_met] = other
                    n_met += 1
                shared[other] += 1
        for place in range(n_met):
            other = met[place]
            theirs = user_edges[other + 1] - user_edges[other]
            cosine = shared[other] / sqrt(len(own)) / sqrt(theirs)
            shared[other] = 0.0 if cosine > _TWIN else cosine
        n_near = 0
        for place in range(n_met):
            n_near = offer(near, nearest, n_near, shared[met[place]], met[place])
        edge = near[0] if n_near == neighbours else 0.0
        n_scored, total, squares = 0, 0.0, 0.0
        for place in range(n_met):
            other = met[place]
            cosine = shared[other]
            shared[other] = 0.0
            if cosine > 0 and cosine >= edge:
                for item in user_items[user_edges[other] : user_edges[other + 1]]:
                    if scores[item] == 0:
                        scored[n_scored] = item
                        n_scored += 1
                    scores[item] += cosine
        for place in range(n_scored):
            total += scores[scored[place]]
            squares += scores[scored[place]] ** 2
        mean = total / n_items
        deviation = sqrt(max(squares / n_items - mean * mean, 0.0))
        for place, item in enumerate(candidates[row]):
            if item >= 0:
                found[row, place] = (scores[item] - mean) / (deviation if deviation > 0 else 1.0)
        for place in range(n_scored):
            scores[scored[place]] = 0.0
