"""Past requests, as the ranker would have met them: who asked when, with which history, and what was right.

The rows of a history are those of a `TrainingData`, which must be in the order that the online store keeps: by
(time, item id as text, event type code, value).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from configs.event_types import Weighting
from data.store_order import store_order
from models.training.training_data import TrainingData


@dataclass(frozen=True)
class Requests:
    """B past requests.

    Attributes:
        user: (B,) int.
        at_ms: (B,) float64; no row of the history is later.
        rows: for each request, the rows of its history, oldest to newest.
        relevant: (B, n_items), stored entries were right.
        visible: (B,) how many of the events in `popularity_rows` had happened.
        popularity_rows: rows of all users' events, in order of time, that popularity is counted from.
        devices: (B,) as the request's context named them; None where nothing is known of any.
    """

    user: np.ndarray
    at_ms: np.ndarray
    rows: list[np.ndarray]
    relevant: sp.csr_matrix
    visible: np.ndarray
    popularity_rows: np.ndarray
    devices: Sequence[str | None] | None = None

    def __len__(self) -> int:
        return len(self.user)

    def some(self, chosen: np.ndarray) -> "Requests":
        """The requests of these numbers."""
        return Requests(
            self.user[chosen],
            self.at_ms[chosen],
            [self.rows[place] for place in chosen.tolist()],
            self.relevant[chosen],
            self.visible[chosen],
            self.popularity_rows,
            None if self.devices is None else [self.devices[place] for place in chosen.tolist()],
        )


def in_store_order(data: TrainingData) -> TrainingData:
    """The same events in the order of the online store's histories."""
    texts = [str(text).encode() for text in data.items.ids.tolist()]
    return data.rows(store_order(data.times_ms, data.item, texts, data.codes, data.values))


def user_requests(data: TrainingData, train: np.ndarray, relevant: sp.csr_matrix) -> Requests:
    """One request for each user with something relevant, right after the user's latest event in `train`.

    Args:
        data: in store order (`in_store_order`).
        train: rows, rising.
        relevant: (n_users, n_items).
    """
    train = np.sort(train)
    users = np.flatnonzero(np.diff(relevant.indptr))
    by_user = rows_by_user(data, train, len(data.users))
    rows = [by_user[user] for user in users.tolist()]
    start = float(data.times_ms[train[0]])
    at = np.array([float(data.times_ms[mine[-1]]) if len(mine) else start for mine in rows])
    visible = np.searchsorted(data.times_ms[train], at, side="right")
    return Requests(users, at, rows, sp.csr_matrix(relevant[users]), visible, train)


def window_requests(
    data: TrainingData,
    train: np.ndarray,
    window: np.ndarray,
    contexts: tuple[int, ...],
    fewest: dict[int, int],
    known_items: np.ndarray,
    weighting: Weighting,
    live: bool = False,
    horizon: int | None = None,
    least: float = 0.0,
) -> Requests:
    """Requests at the beginning of and during a window of time.

    For each user with events in the window and each `context` c: the user's first c window events are history, and the
    later ones are right. With c = 0 the request comes when the window opens, and only from users with earlier events.

    Args:
        data: in store order.
        train, window: rows; the window's are later.
        contexts: how many window events are known.
        fewest: context -> window events that a user must have.
        known_items: (n_items,) bool; only these can be right.
        weighting: an event is right when it speaks for its item under this weighting.
        live: popularity counts the window's events up to the request too, as it does online; otherwise only `train`.
        least: an event is right when its confidence is above this.
        horizon: only so many events after the context are right; None for all of the window's.
    """
    train, window = np.sort(train), np.sort(window)
    n_items = len(data.items)
    before, inside = rows_by_user(data, train, len(data.users)), rows_by_user(data, window, len(data.users))
    opening = float(data.times_ms[train[-1]])
    speaks = data.types.confidence(data.codes, data.values, weighting) > least
    if weighting == "preference":
        speaks &= ~data.types.is_refusal(data.codes, data.values)
    user, at, rows, right = [], [], [], []
    for number, mine in enumerate(inside):
        for context in contexts:
            if len(mine) < fewest.get(context, context + 1) or (context == 0 and not len(before[number])):
                continue
            history = np.concatenate([before[number], mine[:context]])
            later = mine[context:] if horizon is None else mine[context : context + horizon]
            later = data.item[later[speaks[later]]]
            met = set(data.item[history].tolist())
            good = [item for item in dict.fromkeys(later.tolist()) if known_items[item] and item not in met]
            if not good:
                continue
            user.append(number)
            at.append(float(data.times_ms[mine[context - 1]]) if context else opening)
            rows.append(history)
            right.append(good)
    indptr = np.concatenate([[0], np.cumsum([len(good) for good in right])]).astype(np.int64)
    indices = np.concatenate([np.empty(0, np.int64), *(np.array(good, np.int64) for good in right)])
    relevant = sp.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=(len(user), n_items))
    relevant.sort_indices()
    at_ms = np.array(at, np.float64)
    counted = np.sort(np.concatenate([train, window])) if live else train
    visible = np.searchsorted(data.times_ms[counted], at_ms, side="right")
    return Requests(np.array(user, np.int64), at_ms, rows, relevant, visible, counted)


def rows_by_user(data: TrainingData, rows: np.ndarray, n_users: int) -> list[np.ndarray]:
    """For each user the rows among `rows`, in the same order."""
    order = np.argsort(data.user[rows], kind="stable")
    edges = np.searchsorted(data.user[rows][order], np.arange(n_users + 1))
    ordered = rows[order]
    return [ordered[edges[user] : edges[user + 1]] for user in range(n_users)]
