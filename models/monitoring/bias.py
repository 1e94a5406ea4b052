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
class BiasTerms:
    """The bias model as a bundle keeps it.

    Attributes:
        mean: the mean of all ratings.
        items: (n_items,) float32, 0 where there was no rating.
        users: (n_users,) float32, likewise.
    """

    mean: float
    items: np.ndarray
    users: np.ndarray


@dataclass(frozen=True)
class BiasModel:
    """The terms with the ids to which they belong: (n_items,) and (n_users,) str objects."""

    terms: BiasTerms
    item_ids: np.ndarray
    user_ids: np.ndarray

    @cached_property
    def _of_item(self) -> dict[str, float]:
        return dict(zip(self.item_ids.tolist(), self.terms.items.tolist(), strict=True))

    @cached_property
    def _of_user(self) -> dict[str, float]:
        return dict(zip(self.user_ids.tolist(), self.terms.users.tolist(), strict=True))

    def predict(self, user_id: str, item_id: str) -> float:
        """The rating to be expected; an unknown user or item counts as an average one."""
        return self.terms.mean + self._of_item.get(item_id, 0.0) + self._of_user.get(user_id, 0.0)


def fit_bias(user: np.ndarray, item: np.ndarray, ratings: np.ndarray, n_users: int, n_items: int) -> BiasTerms:
    """Fit to (n,) ratings of users and items by position.

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
    return BiasTerms(mean, items.astype(np.float32), users.astype(np.float32))
