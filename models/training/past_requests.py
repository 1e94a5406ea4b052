"""Past requests, as serving would have met them: who asked when, with which history, and what was right.

What came before a request is decided by place in one total order of all events (`TrainingData.turn`), never by
comparing times: events of one moment have no order of their own, and a comparison would show a request what it is to
predict. `Past` is the only place that decides it. The rows of a history are in the order that the online store keeps,
by (time, item id as text, event type code, value), so a `TrainingData` must be in that order (`in_store_order`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from configs.event_types import Weighting
from data.matrix import pairs_to_mask
from data.store_order import store_order
from models.factors.interest import aggregate_interest
from models.ranking.block.habits import VISIT_GAP_MS
from models.ranking.features import moment
from models.retrieval.exclusion import left_out
from models.training.training_data import TrainingData

_SPARE = 4  # times as many requests as are wanted are looked at


@dataclass(frozen=True)
class Requests:
    """B past requests.

    Attributes:
        user: (B,) int.
        at_ms: (B,) float64, the moment as of which features are computed.
        rows: for each request, the rows of everything that its user did before, in store order.
        relevant: (B, n_items) float32, stored entries were right, and their values say how much (a confidence).
        visible: (B,) how many of the events in `popularity_rows` came before.
        popularity_rows: rows of all users' events, in the order of their turns, that popularity is counted from.
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


class Past:
    """What requests may know, as of any place in the total order.

    Args:
        data: in store order.
        known: rows that requests may know of; None for all.
        popularity: rows that popularity is counted from; None for those in `known`.
        turns: (n,) int64, distinct: the place of every row in the total order; None for `data.turn`.
    """

    def __init__(
        self,
        data: TrainingData,
        known: np.ndarray | None = None,
        popularity: np.ndarray | None = None,
        turns: np.ndarray | None = None,
    ) -> None:
        known = np.arange(len(data)) if known is None else np.sort(known)
        self._data, self._turns = data, data.turn if turns is None else turns
        self.by_user = rows_by_user(data, known, len(data.users))
        ordered = self._ordered(known)
        self._known_turns = self._turns[ordered]
        self._newest = np.maximum.accumulate(data.times_ms[ordered].astype(np.float64))
        self._popularity_rows = ordered if popularity is None else self._ordered(popularity)
        self._popularity_turns = self._turns[self._popularity_rows]

    def _ordered(self, rows: np.ndarray) -> np.ndarray:
        return rows[np.argsort(self._turns[rows], kind="stable")]

    def requests(
        self,
        user: np.ndarray,
        before: np.ndarray,
        at_ms: np.ndarray,
        relevant: sp.csr_matrix | None = None,
        devices: Sequence[str | None] | None = None,
    ) -> Requests:
        """Requests of `user` (B,), each of which knows the events whose turn comes before `before` (B,).

        Args:
            at_ms: (B,) the clock at each request. Where the newest event of all is more than a day older, that event's
                time counts instead, as in serving (`models.ranking.features.moment`).
            relevant: (B, n_items); nothing where None.
        """
        rows = [
            mine[self._turns[mine] < turn]
            for mine, turn in (
                (self.by_user[who], turn) for who, turn in zip(user.tolist(), before.tolist(), strict=True)
            )
        ]
        happened = np.searchsorted(self._known_turns, before)
        moments = [
            moment(clock, float(self._newest[count - 1]) if count else None)
            for clock, count in zip(at_ms.tolist(), happened.tolist(), strict=True)
        ]
        if relevant is None:
            relevant = sp.csr_matrix((len(user), len(self._data.items)), dtype=np.float32)
        visible = np.searchsorted(self._popularity_turns, before)
        return Requests(user, np.array(moments, np.float64), rows, relevant, visible, self._popularity_rows, devices)


def in_store_order(data: TrainingData) -> TrainingData:
    """The same events in the order of the online store's histories; their turns stay."""
    return data.rows(rows_in_store_order(data))


def rows_in_store_order(data: TrainingData) -> np.ndarray:
    """(n,) row numbers in the order of the online store's histories."""
    texts = [str(text).encode() for text in data.items.ids.tolist()]
    return store_order(data.times_ms, data.item, texts, data.codes, data.values)


def user_requests(data: TrainingData, train: np.ndarray, relevant: sp.csr_matrix) -> Requests:
    """One request for each user with something relevant, right after the user's latest event in `train`.

    Args:
        data: in store order (`in_store_order`).
        train: rows.
        relevant: (n_users, n_items).
    """
    users = np.flatnonzero(np.diff(relevant.indptr))
    past = Past(data, train)
    start, first = float(data.times_ms[train].min()), int(data.turn[train].min())
    latest = [mine[np.argmax(data.turn[mine])] if len(mine) else -1 for mine in past.by_user]
    rows = np.array([latest[user] for user in users.tolist()], np.int64)
    before = np.where(rows >= 0, data.turn[rows] + 1, first)
    at_ms = np.where(rows >= 0, data.times_ms[rows].astype(np.float64), start)
    return past.requests(users, before, at_ms, sp.csr_matrix(relevant[users]))


def window_requests(
    data: TrainingData,
    train: np.ndarray,
    window: np.ndarray,
    contexts: tuple[int, ...] | None,
    fewest: dict[int, int],
    known_items: np.ndarray,
    weighting: Weighting,
    live: bool = False,
    horizon: int | None = None,
    least: float = 0.0,
    most: int | None = None,
    horizon_s: float | None = None,
) -> Requests:
    """Requests during a window of time, each at the moment of its user's next event, and right before it.

    For each user with events in the window and each `context` c: the user's first c window events are history, and the
    later ones are right. With c = 0 only users with earlier events ask.

    Args:
        data: in store order.
        train, window: rows; all turns of the window's are later.
        contexts: how many window events are known; None for any number, so that every event of the window counts alike.
        fewest: context -> window events that a user must have.
        known_items: (n_items,) bool; only these can be right, and only what serving would not leave out.
        weighting: an event is right when it speaks for its item under this weighting, by its confidence.
        live: popularity counts the window's events up to the request too, as it does online; otherwise only `train`.
        horizon: only so many events after the context are right; None for all of the window's.
        least: an event is right when its confidence is above this.
        most: a random choice of so many requests, where there are more; None for all.
        horizon_s: a context is led on to the begin of the user's next visit, and what comes within so many seconds
            after that is right, whatever `horizon` says; None to ask anywhere.
    """
    past = Past(data, np.concatenate([train, window]), None if live else train)
    confidence = data.types.confidence(data.codes, data.values, weighting)
    speaks = confidence > least
    if weighting == "preference":
        speaks &= ~data.types.is_refusal(data.codes, data.values)
    had_before = np.bincount(data.user[train], minlength=len(data.users)) > 0
    window = window[np.argsort(data.turn[window], kind="stable")]
    inside = rows_by_user(data, window, len(data.users))
    user, next_rows, later = [], [], []
    visits: set[tuple[int, int]] = set()
    for number, context in _askers(inside, had_before, contexts, fewest, most):
        mine = inside[number]
        if horizon_s is not None:
            context = _next_visit(data.times_ms[mine], context)
            if context == len(mine) or (number, context) in visits:
                continue
            visits.add((number, context))
            ahead = mine[context:]
            ahead = ahead[data.times_ms[ahead] <= data.times_ms[mine[context]] + 1000 * horizon_s]
        else:
            ahead = mine[context:] if horizon is None else mine[context : context + horizon]
        ahead = ahead[speaks[ahead] & known_items[data.item[ahead]]]
        if len(ahead):
            user.append(number)
            next_rows.append(mine[context])
            later.append(ahead)
    if most is not None and len(user) > most:
        chosen = np.sort(np.random.default_rng(len(user)).choice(len(user), most, replace=False)).tolist()
        user, next_rows, later = ([values[place] for place in chosen] for values in (user, next_rows, later))
    rows = np.array(next_rows, np.int64)
    asked = past.requests(np.array(user, np.int64), data.turn[rows], data.times_ms[rows].astype(np.float64))
    relevant = _relevant(data, asked, later, confidence, weighting)
    found = Requests(asked.user, asked.at_ms, asked.rows, relevant, asked.visible, asked.popularity_rows)
    return found.some(np.flatnonzero(np.diff(relevant.indptr)))


def _askers(
    inside: list[np.ndarray],
    had_before: np.ndarray,
    contexts: tuple[int, ...] | None,
    fewest: dict[int, int],
    most: int | None,
) -> Iterator[tuple[int, int]]:
    """Users with the contexts in which they may ask. Of very many a random part is enough to choose `most` from: not
    each of them has something right."""
    sizes = np.array([len(mine) for mine in inside])
    if contexts is None:
        users = np.repeat(np.arange(len(sizes)), sizes)
        known = np.arange(len(users)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        may = had_before[users] | (known != 0)
        users, known = users[may], known[may]
    else:
        least = np.array([fewest.get(context, context + 1) for context in contexts])
        users, places = np.nonzero((sizes[:, None] >= least) & (had_before[:, None] | (np.array(contexts) != 0)))
        known = np.array(contexts)[places]
    if most is not None and len(users) > _SPARE * most:
        chosen = np.sort(np.random.default_rng(len(users)).choice(len(users), _SPARE * most, replace=False))
        users, known = users[chosen], known[chosen]
    yield from zip(users.tolist(), known.tolist(), strict=True)


def _next_visit(times_ms: np.ndarray, context: int) -> int:
    """The first place from `context` on at which a visit begins; the number of events where there is none."""
    begins = np.flatnonzero(np.diff(times_ms[max(context, 1) - 1 :]) > VISIT_GAP_MS) + max(context, 1)
    return 0 if context == 0 else int(begins[0]) if len(begins) else len(times_ms)


def _relevant(
    data: TrainingData, asked: Requests, later: list[np.ndarray], confidence: np.ndarray, weighting: Weighting
) -> sp.csr_matrix:
    """(B, n_items): the largest confidence of each item among the rows `later`, without what serving leaves out."""
    numbers = np.repeat(np.arange(len(later)), [len(rows) for rows in later])
    flat = np.concatenate([np.empty(0, np.int64), *later])
    pairs, place = np.unique(numbers * len(data.items) + data.item[flat], return_inverse=True)
    gains = np.zeros(len(pairs), np.float32)
    np.maximum.at(gains, place, confidence[flat])
    out = excluded_items(data, asked.rows, weighting)
    out_pairs = np.repeat(np.arange(len(later)), np.diff(out.indptr)) * len(data.items) + out.indices
    kept = ~np.isin(pairs, out_pairs)
    shape = (len(later), len(data.items))
    return sp.csr_matrix((gains[kept], np.divmod(pairs[kept], len(data.items))), shape=shape)


def excluded_items(data: TrainingData, histories: Sequence[np.ndarray], weighting: Weighting) -> sp.csr_matrix:
    """(B, n_items) bool: what serving leaves out of the list of each history, given as rows of `data`."""
    rows = np.repeat(np.arange(len(histories)), [len(mine) for mine in histories])
    flat = np.concatenate([np.empty(0, np.int64), *histories])
    items, codes = data.item[flat], data.codes[flat]
    interest = aggregate_interest(rows, items, data.times_ms[flat], codes, data.values[flat], data.types, weighting)
    out = left_out(rows, items, codes, data.types, interest)
    return pairs_to_mask(out.rows, out.items, len(histories), len(data.items))


def rows_by_user(data: TrainingData, rows: np.ndarray, n_users: int) -> list[np.ndarray]:
    """For each user the rows among `rows`, in the same order."""
    order = np.argsort(data.user[rows], kind="stable")
    edges = np.searchsorted(data.user[rows][order], np.arange(n_users + 1))
    ordered = rows[order]
    return [ordered[edges[user] : edges[user + 1]] for user in range(n_users)]
