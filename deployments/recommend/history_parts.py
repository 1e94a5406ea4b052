"""The histories of a micro-batch, cut into what single users did."""

from itertools import pairwise

import numpy as np

from configs.event_types import EventTypes
from features.users.history import Histories
from models.relations.past_events import PastEvents


def split_rows(rows: np.ndarray, values: np.ndarray, number: int) -> list[np.ndarray]:
    """The values of each of `number` rows; `rows` must be sorted."""
    edges = np.searchsorted(rows, np.arange(number + 1)).tolist()
    return [values[first:last] for first, last in pairwise(edges)]


def past_of_users(
    types: EventTypes, histories: Histories, rows: np.ndarray, places: np.ndarray, in_model: np.ndarray
) -> list[PastEvents]:
    """What each user of the batch had before, of the items that the model knows.

    Args:
        rows, places: (n,) whose event each is, and the position of its item.
        in_model: (n,) bool, events whose items the model knows.
    """
    amounts = types.confidence(histories.codes, histories.values, "preference")
    kept = in_model & (amounts > 0)
    columns = (places[kept], amounts[kept].astype(np.float64), histories.times_ms[kept])
    parts = [split_rows(rows[kept], column, len(histories.sizes)) for column in columns]
    return [PastEvents(*mine) for mine in zip(*parts, strict=True)]
