"""The histories of a micro-batch, cut into what single users did."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from configs.decay import REFUSAL_AFFINITY
from configs.event_types import EventTypes
from features.users.history import Histories
from models.ranking.features import latest_distinct
from models.relations.more_sources import LATEST
from models.relations.near_counts import counted
from models.relations.past_events import PastEvents
from models.retrieval.near_items import NearItems


class UserEvents(NamedTuple):
    """Of one history: the items' positions, what each event counted for an affinity when it came, and when that was."""

    items: np.ndarray
    amounts: np.ndarray
    times_ms: np.ndarray


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


def events_of_users(
    types: EventTypes, histories: Histories, rows: np.ndarray, places: np.ndarray, listed: np.ndarray
) -> list[UserEvents]:
    """All events of each user of the batch whose items are listed, with what they count.

    Args:
        rows, places: (n,) whose event each is, and the position of its item.
        listed: (n,) bool, events whose items are on the shelf.
    """
    codes, values = histories.codes[listed], histories.values[listed]
    amounts = np.where(types.is_refusal(codes, values), REFUSAL_AFFINITY, types.confidence(codes, values, "preference"))
    columns = (places[listed], amounts, histories.times_ms[listed])
    parts = [split_rows(rows[listed], column, len(histories.sizes)) for column in columns]
    return [UserEvents(*mine) for mine in zip(*parts, strict=True)]


def latest_rows_of_users(
    near: NearItems, types: EventTypes, histories: Histories, rows: np.ndarray, places: np.ndarray
) -> list[np.ndarray]:
    """(LATEST,) int64 of each user, -1 padded: rows of the latest distinct items of events that near relations count,
    also of those that are not on the shelf.

    Args:
        rows, places: (n,) whose event each is, and the position of its item, -1 where it is not on the shelf.
    """
    of_events = near.history_rows(histories.item_ids, places)
    kept = (of_events >= 0) & counted(types, histories.codes, histories.values)
    events = split_rows(rows[kept], of_events[kept], len(histories.sizes))
    return [latest_distinct(mine, LATEST) for mine in events]
