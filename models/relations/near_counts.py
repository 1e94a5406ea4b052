"""What is taken up together within minutes, counted event by event: for catalogues of any size, in bounded memory.

An event and the ten items before it of the same user, as far as they are not older than ten minutes, make pairs:
.8 ** k for the k-th item back, half of it for the way back. What is among those ten already counts nothing anew, so
nobody lifts a pair by going to and fro. Counts are whole numbers, so it changes nothing in which order the events of
different users come.

Each item has a row of pairs in one array of cells. Where a row or the array is full, the weakest pairs go: those with
the least count, halved for this alone with each month since the pair was last met.
"""

from math import log2
from typing import Self

import numpy as np
from numba import types

from configs.event_types import EventTypes
from models.best_k import offer
from models.compiled import compiled, inner, reads, writes

REACH = 10
"""Items of the same user that an event looks back at."""
WINDOW_MS = 600_000
UNIT = 1000
"""What a pair of weight 1 counts."""
LONGEST_ROW = 256
CELLS = 2_000_000
"""Cells at most, of 12 bytes; half of them, or more, hold a pair when the array is full."""
FEWEST_CELLS = 32_768
_WEIGHTS = np.round(UNIT * 0.8 ** np.arange(1, REACH + 1)).astype(np.int64)
_LARGEST = 2**30
_MOST_OF_EVENT = 2 * REACH * LONGEST_ROW  # cells that the rows of one event may need
_MINUTE_MS = 60_000
_HALF_LIFE_MIN = 30 * 24 * 60.0
_FULL, _KEPT = 0.75, 0.375  # shares of the cells: in use after there was made room, and pairs that are kept for that


def counted(event_types: EventTypes, codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n,) bool: which events are counted: on whatever was taken up, liked or not, for every model. Where somebody is
    just then shows in what was taken up, and without what was not liked the lists gain less.

    Args:
        codes: (n,) uint8, event type codes.
        values: (n,) float, NaN where the event carries none.
    """
    return np.asarray(event_types.confidence(codes, values, "consumption") > 0)


class NearCounts:
    """The pairs of items by position, and what the users took up last.

    Args:
        n_items, n_users: positions that there are at first; more come with `take`.
        cells: the most cells; at least `FEWEST_CELLS`.

    Attributes:
        offsets, sizes, degrees: (n,) int64, int32, int64 or longer: where the row of an item begins, how many pairs
            it has, and all that it ever counted.
        cell_items, cell_counts, cell_minutes: int32, of a pair the other item, its count in `UNIT`, and the minute of
            the latest event that it was met with.
        latest, latest_ms: (n_users, REACH) int32, -1 padded, and int64: what each user took up last, the latest first.
    """

    def __init__(self, n_items: int, n_users: int, cells: int = CELLS) -> None:
        self._most = max(cells, FEWEST_CELLS)
        self.n_items = 0
        self.offsets, self.degrees = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.sizes, self._rooms = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self._end = np.zeros(1, np.int64)
        self._new_cells(FEWEST_CELLS)
        self.latest = np.full((0, REACH), -1, np.int32)
        self.latest_ms = np.zeros((0, REACH), np.int64)
        self._grow_items(n_items)
        self._grow_users(n_users)

    @property
    def pairs(self) -> int:
        """Pairs that are held, each way counted."""
        return int(self.sizes.sum())

    def take(self, users: np.ndarray, items: np.ndarray, times_ms: np.ndarray) -> None:
        """Count events (e,) in the order in which they arrived.

        Args:
            users, items: positions.
        """
        if not len(users):
            return
        self._grow_items(int(items.max()) + 1)
        self._grow_users(int(users.max()) + 1)
        given = (
            np.ascontiguousarray(users, np.int64),
            np.ascontiguousarray(items, np.int64),
            np.ascontiguousarray(times_ms, np.int64),
        )
        done = 0
        while True:
            done = _take(
                *given, done, self.latest, self.latest_ms, _WEIGHTS, self.offsets, self.sizes, self._rooms,
                self.degrees, self._end, self.cell_items, self.cell_counts, self.cell_minutes,
            )  # fmt: skip
            if done == len(users):
                return
            self.make_room()

    def forget(self, user: int) -> None:
        """The position of a user is another's from now on."""
        self.latest[user] = -1

    def copy(self) -> Self:
        """Counts that go on by themselves."""
        other = object.__new__(type(self))
        for name, value in vars(self).items():
            setattr(other, name, value.copy() if isinstance(value, np.ndarray) else value)
        return other

    def row(self, item: int) -> dict[int, int]:
        """item -> count, of the pairs that begin with this one."""
        part = slice(self.offsets[item], self.offsets[item] + self.sizes[item])
        return dict(zip(self.cell_items[part].tolist(), self.cell_counts[part].tolist(), strict=True))

    def _grow_items(self, n: int) -> None:
        self.n_items = max(self.n_items, n)
        if n > len(self.sizes):
            more = max(n, 2 * len(self.sizes)) - len(self.sizes)
            for name in ("offsets", "degrees", "sizes", "_rooms"):
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.zeros(more, array.dtype)]))

    def _grow_users(self, n: int) -> None:
        if n > len(self.latest):
            more = max(n, 2 * len(self.latest)) - len(self.latest)
            self.latest = np.concatenate([self.latest, np.full((more, REACH), -1, np.int32)])
            self.latest_ms = np.concatenate([self.latest_ms, np.zeros((more, REACH), np.int64)])

    def _new_cells(self, n: int) -> None:
        self.cell_items, self.cell_counts = np.zeros(n, np.int32), np.zeros(n, np.int32)
        self.cell_minutes = np.zeros(n, np.int32)

    def make_room(self) -> None:
        """Lay the rows out anew, so that a quarter of the cells is free: in more cells where there may be, else without
        the weakest pairs."""
        needed = int(_rooms_of(self.sizes).sum())
        length = max(len(self.cell_items), FEWEST_CELLS)
        while needed > _FULL * length and length < self._most:
            length = min(2 * length, self._most)
        length = min(length, self._most)
        weakest, equals = -np.inf, 0
        if needed > _FULL * length:
            scores = np.empty(self.pairs)
            _scores(self.offsets, self.sizes, self.cell_counts, self.cell_minutes, scores)
            kept = min(int(_KEPT * length), len(scores))
            weakest = float(np.partition(scores, len(scores) - kept)[len(scores) - kept])
            equals = kept - int((scores > weakest).sum())
        old = self.offsets, self.sizes, self.cell_items, self.cell_counts, self.cell_minutes
        self._new_cells(length)
        self.offsets, self.sizes = np.zeros_like(self.offsets), np.zeros_like(self.sizes)
        _lay_out(
            *old, weakest, equals,
            self.offsets, self.sizes, self._rooms, self._end, self.cell_items, self.cell_counts, self.cell_minutes,
        )  # fmt: skip


def _rooms_of(sizes: np.ndarray) -> np.ndarray:
    """The least powers of two that are not below these sizes; 0 for 0."""
    powers = 2 ** np.ceil(np.log2(np.maximum(sizes, 1))).astype(np.int64)
    return np.where(sizes > 0, powers, 0)


@inner
def _score(count: int, minute: int) -> float:
    return log2(count) + minute / _HALF_LIFE_MIN


@compiled(reads("i8"), reads("i4"), reads("i4"), reads("i4"), writes("f8"))
def _scores(
    offsets: np.ndarray, sizes: np.ndarray, counts: np.ndarray, minutes: np.ndarray, scores: np.ndarray
) -> None:
    number = 0
    for row in range(len(sizes)):
        for at in range(offsets[row], offsets[row] + sizes[row]):
            scores[number] = _score(counts[at], minutes[at])
            number += 1


@compiled(
    reads("i8"), reads("i4"), reads("i4"), reads("i4"), reads("i4"), types.float64, types.int64,
    writes("i8"), writes("i4"), writes("i4"), writes("i8"), writes("i4"), writes("i4"), writes("i4"),
)  # fmt: skip
def _lay_out(
    old_offsets: np.ndarray,
    old_sizes: np.ndarray,
    old_items: np.ndarray,
    old_counts: np.ndarray,
    old_minutes: np.ndarray,
    weakest: float,
    equals: int,
    offsets: np.ndarray,
    sizes: np.ndarray,
    rooms: np.ndarray,
    end: np.ndarray,
    items: np.ndarray,
    counts: np.ndarray,
    minutes: np.ndarray,
) -> None:
    """Rows one after another, each with room for a power of two; of the pairs those above the `weakest` score, and so
    many of those that have it."""
    at, left = 0, equals
    for row in range(len(old_sizes)):
        offsets[row] = at
        for old in range(old_offsets[row], old_offsets[row] + old_sizes[row]):
            score = _score(old_counts[old], old_minutes[old])
            if score < weakest or (score == weakest and left == 0):
                continue
            if score == weakest:
                left -= 1
            items[at], counts[at], minutes[at] = old_items[old], old_counts[old], old_minutes[old]
            at += 1
        size = at - offsets[row]
        sizes[row], room = size, 0
        if size > 0:
            room = 1
            while room < size:
                room *= 2
        rooms[row] = room
        at = offsets[row] + room
    end[0] = at


@inner
def _weaken(start: int, size: int, items: np.ndarray, counts: np.ndarray, minutes: np.ndarray) -> int:
    """Take the weakest quarter out of a row. Returns how many pairs are left."""
    room = size - size // 4
    scores, places, n = np.empty(room), np.empty(room, np.int64), 0
    for place in range(start, start + size):
        n = offer(scores, places, n, _score(counts[place], minutes[place]), place)
    staying = np.zeros(size, np.bool_)
    staying[places - start] = True
    kept = start
    for place in range(start, start + size):
        if staying[place - start]:
            items[kept], counts[kept], minutes[kept] = items[place], counts[place], minutes[place]
            kept += 1
    return kept - start


@inner
def _add(
    row: int,
    other: int,
    weight: int,
    minute: int,
    offsets: np.ndarray,
    sizes: np.ndarray,
    rooms: np.ndarray,
    degrees: np.ndarray,
    end: np.ndarray,
    items: np.ndarray,
    counts: np.ndarray,
    minutes: np.ndarray,
) -> None:
    degrees[row] += weight
    start, size = offsets[row], sizes[row]
    for at in range(start, start + size):
        if items[at] == other:
            counts[at] = min(counts[at] + weight, _LARGEST)
            minutes[at] = max(minutes[at], minute)
            return
    if size == rooms[row]:
        if size >= LONGEST_ROW:
            size = _weaken(start, size, items, counts, minutes)
        else:
            moved = end[0]
            rooms[row] = max(1, 2 * size)
            end[0] += rooms[row]
            for place in range(size):
                items[moved + place], counts[moved + place] = items[start + place], counts[start + place]
                minutes[moved + place] = minutes[start + place]
            offsets[row] = start = moved
    items[start + size], counts[start + size], minutes[start + size] = other, weight, minute
    sizes[row] = size + 1


@compiled(
    reads("i8"), reads("i8"), reads("i8"), types.int64, writes("i4", 2), writes("i8", 2), reads("i8"),
    writes("i8"), writes("i4"), writes("i4"), writes("i8"), writes("i8"), writes("i4"), writes("i4"), writes("i4"),
)  # fmt: skip
def _take(
    users: np.ndarray,
    events: np.ndarray,
    times_ms: np.ndarray,
    first: int,
    latest: np.ndarray,
    latest_ms: np.ndarray,
    weights: np.ndarray,
    offsets: np.ndarray,
    sizes: np.ndarray,
    rooms: np.ndarray,
    degrees: np.ndarray,
    end: np.ndarray,
    items: np.ndarray,
    counts: np.ndarray,
    minutes: np.ndarray,
) -> int:
    """Count the events from `first` on. Returns the first that is not counted, since the cells might not suffice."""
    for at in range(first, len(users)):
        if end[0] + _MOST_OF_EVENT > len(items):
            return at
        item, ms = events[at], times_ms[at]
        before, before_ms = latest[users[at]], latest_ms[users[at]]
        place, new = REACH - 1, True  # the place that becomes free
        for back in range(REACH):
            if before[back] < 0 or before[back] == item:
                new = before[back] < 0 or abs(ms - before_ms[back]) > WINDOW_MS
                place = back
                break
        if new:
            minute = max(ms, 0) // _MINUTE_MS
            for back in range(REACH):
                other = before[back]
                if other < 0:
                    break
                if other != item and abs(ms - before_ms[back]) <= WINDOW_MS:
                    weight = weights[back]
                    _add(other, item, weight, minute, offsets, sizes, rooms, degrees, end, items, counts, minutes)
                    _add(item, other, weight // 2, minute, offsets, sizes, rooms, degrees, end, items, counts, minutes)
        elif before_ms[place] > ms:
            ms = before_ms[place]
        for back in range(place, 0, -1):
            before[back], before_ms[back] = before[back - 1], before_ms[back - 1]
        before[0], before_ms[0] = item, ms
    return len(users)
