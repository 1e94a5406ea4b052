"""Which items people meet close together: pairs counted by how few steps lie between them in one user's order.

For data whose held-out part lies among what is known, not after it: an item that others met next to two neighbours in
this user's order was probably met between them. Dense (n, n) matrices, so for at most
`models.ranking.item_relations.LIMIT` items.
"""

from collections.abc import Sequence

import numpy as np

REACH = 15  # items at most this many steps apart are a pair
_FADE = 5.0  # steps after which a pair counts 1/e as much
_PRIOR = 5.0  # every item starts with this many pairs, spread by popularity alone

NEARNESS_FEATURES = ("near_cosine", "near_lift", "near_lift_max", "near_lift_between")


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

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """(len(NEARNESS_FEATURES), B, n_items) float32, of all items.

        Args:
            histories: for each request its items in order of time, (m,) int.
        """
        n_items = len(self._cosine)
        found = np.zeros((len(NEARNESS_FEATURES), len(histories), n_items), np.float32)
        for row, history in enumerate(histories):
            if not len(history):
                continue
            lift = self._log_lift[history]
            above = np.log1p(np.exp(lift))
            found[0, row] = self._cosine[history].sum(axis=0)
            found[1, row] = lift.sum(axis=0)
            found[2, row] = above.max(axis=0)
            if len(history) > 1:
                found[3, row] = (above[:-1] * above[1:]).max(axis=0)
        return found
