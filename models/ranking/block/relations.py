"""The columns of the candidate block that relations between items give, compiled.

Each function writes the columns `at` of B requests: at[i] is where the i-th feature of its group stands, -1 for one
that the block does not hold. `block` is (B, k, columns) float32, `candidates` and `recent` are as in `RequestBatch`.
Histories come one after another: that of request i is `histories[edges[i]:edges[i + 1]]`. A table is the arrays of a
`models.relations.top_k.TopK`. What a request without history has, or a candidate without relations, is NaN.
"""

from math import nan

import numpy as np
from numba import types

from models.compiled import compiled, inner, reads, writes
from models.ranking.block.standard import standardise
from models.relations.top_k import free_slots, slot_of

_FEW, _MORE = 5, 10  # latest items that what follows, and what goes together, look at
_FADING = 0.8  # of the latest items together with a candidate, each counts so much of the one after it
_EASE, _EASE_RECENT, _FOLLOWS, _FOLLOWS_LAST = range(4)
_REQUESTS = (writes("f4", 3), reads("i8"), reads("i8", 2), reads("i8", 2))
_TABLE = types.Tuple((reads("i8"), reads("i4"), reads("f4")))
Table = tuple[np.ndarray, np.ndarray, np.ndarray]


@compiled(*_REQUESTS, reads("i8"), reads("i8"), reads("f4", 2), reads("f4", 2))
def fill_relations(
    block: np.ndarray,
    at: np.ndarray,
    candidates: np.ndarray,
    recent: np.ndarray,
    histories: np.ndarray,
    edges: np.ndarray,
    ease: np.ndarray,
    follows: np.ndarray,
) -> None:
    """Write `RELATIONS` from the matrices of `ItemRelations`: EASE over the history and over `recent`, what follows the
    latest 5, all standardised, and what follows the last."""
    sums = np.empty(candidates.shape[1], np.float32)
    for row in range(len(candidates)):
        related = (candidates[row] >= 0) & (candidates[row] < len(ease))
        for feature in range(len(at)):
            if at[feature] >= 0:
                rows = histories[edges[row] : edges[row + 1]] if feature == _EASE else recent[row]
                matrix = ease if feature <= _EASE_RECENT else follows
                _add_lines(matrix, rows, _most(feature, rows), candidates[row], sums)
                _write(sums, related, rows, feature != _FOLLOWS_LAST, block[row, :, at[feature]])


@compiled(*_REQUESTS, reads("i8"), reads("i8"), _TABLE, _TABLE)
def fill_table_relations(
    block: np.ndarray,
    at: np.ndarray,
    candidates: np.ndarray,
    recent: np.ndarray,
    histories: np.ndarray,
    edges: np.ndarray,
    neighbours: Table,
    following: Table,
) -> None:
    """The same from the tables that stand in for the matrices."""
    sums = np.empty(candidates.shape[1], np.float32)
    for row in range(len(candidates)):
        related = (candidates[row] >= 0) & (candidates[row] < len(following[0]) - 1)
        slots = _slots(candidates[row])
        for feature in range(len(at)):
            if at[feature] >= 0:
                rows = histories[edges[row] : edges[row + 1]] if feature == _EASE else recent[row]
                table = neighbours if feature <= _EASE_RECENT else following
                _add_relations(table, rows, _most(feature, rows), 1.0, slots, sums)
                _write(sums, related, rows, feature != _FOLLOWS_LAST, block[row, :, at[feature]])


@compiled(*_REQUESTS, _TABLE)
def fill_together(block: np.ndarray, at: np.ndarray, candidates: np.ndarray, recent: np.ndarray, table: Table) -> None:
    """Write `TOGETHER`: how much the latest 10 items are taken up together with each candidate, the same standardised,
    and with the last alone."""
    sums = np.empty(candidates.shape[1], np.float32)
    for row in range(len(candidates)):
        related = (candidates[row] >= 0) & (candidates[row] < len(table[0]) - 1)
        slots, rows = _slots(candidates[row]), recent[row]
        if at[0] >= 0 or at[1] >= 0:
            _add_relations(table, rows, _MORE, _FADING, slots, sums)
        for feature in range(len(at)):
            if at[feature] >= 0:
                if feature == 2:
                    _add_relations(table, rows, 1, 1.0, slots, sums)
                _write(sums, related, rows, feature == 1, block[row, :, at[feature]])


@inner
def _most(feature: int, rows: np.ndarray) -> int:
    """How many of the rows count for one of `RELATIONS`."""
    if feature == _FOLLOWS_LAST:
        return 1
    return _FEW if feature == _FOLLOWS else len(rows)


@inner
def _write(sums: np.ndarray, related: np.ndarray, rows: np.ndarray, standard: bool, out: np.ndarray) -> None:
    if len(rows) == 0 or rows[0] < 0:
        out[:] = nan
    elif standard:
        standardise(sums, related, out)
    else:
        for place in range(len(out)):
            out[place] = sums[place] if related[place] else nan


@inner
def _add_lines(matrix: np.ndarray, rows: np.ndarray, most: int, columns: np.ndarray, sums: np.ndarray) -> None:
    """For each column the sum over the first `most` of those rows that the matrix has; 0 for a column that it does not
    have. Four rows at once: the memory is waited for, not the sums, whose order this does not change."""
    inside, n = np.empty(len(columns), np.uint32), 0
    for column in columns:
        if 0 <= column < len(matrix):
            inside[n] = column
            n += 1
    lines, m = np.empty(len(rows), np.uint32), 0
    for row in rows:
        if 0 <= row < len(matrix) and m < most:
            lines[m] = row
            m += 1
    found = np.zeros(n, np.float32)
    whole = m - m % 4
    for at in range(0, whole, 4):
        one, two, three, four = matrix[lines[at]], matrix[lines[at + 1]], matrix[lines[at + 2]], matrix[lines[at + 3]]
        for place in range(n):
            column = inside[place]
            found[place] = (((found[place] + one[column]) + two[column]) + three[column]) + four[column]
    for at in range(whole, m):
        one = matrix[lines[at]]
        for place in range(n):
            found[place] += one[inside[place]]
    n = 0
    for place in range(len(columns)):
        if 0 <= columns[place] < len(matrix):
            sums[place] = found[n]
            n += 1
        else:
            sums[place] = 0.0


@inner
def _slots(candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each candidate stands in the list, as keys and places of `models.relations.top_k.slot_of`."""
    keys = free_slots(len(candidates))
    places = np.zeros(len(keys), np.int64)
    for place in range(len(candidates)):
        if candidates[place] >= 0:
            slot = slot_of(keys, candidates[place])
            keys[slot], places[slot] = candidates[place], place
    return keys, places


@inner
def _add_relations(
    table: Table, rows: np.ndarray, most: int, fading: float, slots: tuple[np.ndarray, np.ndarray], sums: np.ndarray
) -> None:
    """For each candidate the sum over the first `most` of those rows that the table has, each row counting `fading`
    times what the one before it does."""
    edges, items, weights = table
    keys, places = slots
    sums[:] = 0.0
    added, share = 0, np.float32(1.0)
    for row in rows:
        if 0 <= row < len(edges) - 1 and added < most:
            for at in range(edges[row], edges[row + 1]):
                slot = slot_of(keys, items[at])
                if keys[slot] >= 0:
                    sums[places[slot]] += share * weights[at]
            added += 1
            share *= np.float32(fading)
