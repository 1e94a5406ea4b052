"""A rating as mean + item's bias + user's bias: the simplest model of ratings, by which incoming ones are judged.

    item bias   sum of (rating - mean) of its ratings / (number + 25)
    user bias   sum of (rating - mean - item bias) of the user's ratings / (number + 10)

(Koren, "Factorization Meets the Neighborhood", KDD 2008, section 2.1, with its damping.)
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

ITEM_DAMPING = 25.0
USER_DAMPING = 10.0


@dataclass(frozen=True)
class BiasModel:
    """Biases of the items and users of a model.

    Attributes:
        mean: of all ratings.
        item_ids, user_ids: (n,) str objects.
        items, users: (n,) float32; 0 where there was no rating.
    """

    mean: float
    item_ids: np.ndarray
    user_ids: np.ndarray
    items: np.ndarray
    users: np.ndarray

    @cached_property
    def _of_item(self) -> dict[str, float]:
        return dict(zip(self.item_ids.tolist(), self.items.tolist(), strict=True))

    @cached_property
    def _of_user(self) -> dict[str, float]:
        return dict(zip(self.user_ids.tolist(), self.users.tolist(), strict=True))

    def predict(self, user_id: str, item_id: str) -> float:
        """The rating to be expected; an unknown user or item counts as an average one."""
        return self.mean + self._of_item.get(item_id, 0.0) + self._of_user.get(user_id, 0.0)


def fit_bias(
    user: np.ndarray, item: np.ndarray, ratings: np.ndarray, n_users: int, n_items: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """Mean, (n_items,) float32 and (n_users,) float32 biases from (n,) ratings.

    Raises:
        ValueError: no rating.
    """
    if len(ratings) == 0:
        raise ValueError("there are no ratings to fit biases to")
    values = ratings.astype(np.float64)
    mean = float(values.mean())
    items = np.bincount(item, values - mean, n_items) / (np.bincount(item, minlength=n_items) + ITEM_DAMPING)
    rest = values - mean - items[item]
    users = np.bincount(user, rest, n_users) / (np.bincount(user, minlength=n_users) + USER_DAMPING)
    return mean, items.astype(np.float32), users.astype(np.float32)
