"""Small trees, evaluated for many rows at once without walking them.

For 8 lists of 150 rows and 30 features, 150 trees of 7 leaves take LightGBM's own predict 5.0 ms of processor time,
lleaves 1.1 and this 0.33; for one list 0.63, 0.16 and 0.04 (one thread, new rows at each call, medians). lleaves 1.3
does not compile with the llvmlite 0.50 that is installed for numba.

A tree is a byte with one bit for each leaf. A test that fails takes the leaves on its left away; what the failed
tests of one feature take away together is looked up by where the value lies among that feature's thresholds; and of
what remains in the end, the leftmost leaf is the one that a walk would have reached. (Lucchese et al., "QuickScorer",
SIGIR 2015, with the loops turned round for arrays.)

A test on a category asks whether the value, as a whole number, is one of a set; its table has a row for each number up
to the largest of any set, and one for all others, for negative ones and for NaN, which pass no such test.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numba import types

from models.compiled import compiled, inner, reads, writes

MOST_LEAVES = 8
_ZERO = float(np.float32(1e-35))  # LightGBM's kZeroThreshold
_INFINITE = 1e300  # how `dump_model` writes the threshold that tells any number from a missing one
_NO_THRESHOLDS = np.empty(0, np.float32)
_MOST_CATEGORIES = 4096
_BYTES = 256  # values of a byte
_BLOCK = 64  # rows at a time: their bytes and one feature's table stay in the processor's cache


class Forest:
    """Sums of trees of at most `MOST_LEAVES` leaves, for lists of rows.

    Args:
        trees: the `tree_info` of LightGBM's `dump_model`.
        own: the features, by LightGBM's numbers, that each row has a value of, in the order of their columns.
        shared: those that all rows of a list have one value of, likewise: they are looked at once for each list.

    Raises:
        ValueError: a tree is too large, a category's number is, or a shared feature is a category.
        KeyError: a tree reads another feature than these.
    """

    def __init__(self, trees: Sequence[Mapping[str, Any]], own: Sequence[int], shared: Sequence[int] = ()) -> None:
        width = -(-max(len(trees), 1) // 8) * 8  # whole words of eight trees
        tests: dict[int, list[tuple[float, bool, int, int]]] = {}
        members: dict[int, list[tuple[list[int], int, int]]] = {}
        values = np.zeros((width, _BYTES))
        for number, tree in enumerate(trees):
            leaves: list[float] = []
            _collect(tree["tree_structure"], number, leaves, tests, members)
            if len(leaves) > MOST_LEAVES:
                raise ValueError(f"tree {number} has {len(leaves)} leaves, at most {MOST_LEAVES} fit")
            for byte in range(1, _BYTES):
                leaf = (byte & -byte).bit_length() - 1
                values[number, byte] = leaves[leaf] if leaf < len(leaves) else 0.0
        self._values = values.ravel()
        if not members.keys().isdisjoint(shared):
            raise ValueError("a feature that all rows of a list share is a category")
        columns = {feature: column for features in (own, shared) for column, feature in enumerate(features)}
        numbers = [feature for feature in shared if feature in tests]
        self._shared = len(numbers)
        numbers += [feature for feature in sorted(tests) if feature not in numbers]
        found = [(columns[feature], *_tables(tests[feature], width)) for feature in numbers]
        found += [
            (columns[feature], _NO_THRESHOLDS, _category_table(members[feature], width)) for feature in sorted(members)
        ]
        self._numeric = len(tests)
        self._columns = np.array([column for column, _, _ in found], np.int64)
        self._thresholds = np.concatenate([_NO_THRESHOLDS, *(thresholds for _, thresholds, _ in found)])
        self._edges = np.cumsum([0, *(len(thresholds) for _, thresholds, _ in found)])
        self._tables = np.concatenate([np.empty((0, width // 8), np.uint64), *(table for _, _, table in found)])
        self._table_edges = np.cumsum([0, *(len(table) for _, _, table in found)])

    def predict(self, rows: np.ndarray, shared: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """(n,) float64 sums. NaN goes where LightGBM sends it.

        Args:
            rows: (n, own) float32, the lists one after another.
            shared: (lists, shared) float32.
            lengths: (lists,) int, rows of each list; their sum is n.
        """
        result = np.empty(len(rows))
        _evaluate(
            np.ascontiguousarray(rows, np.float32),
            np.ascontiguousarray(shared, np.float32),
            np.ascontiguousarray(lengths, np.int64),
            self._columns,
            self._shared,
            self._numeric,
            self._thresholds,
            self._edges,
            self._tables,
            self._table_edges,
            self._values,
            result,
        )
        return result


@compiled(
    reads("f4", 2),
    reads("f4", 2),
    reads("i8"),
    reads("i8"),
    types.int64,
    types.int64,
    reads("f4"),
    reads("i8"),
    reads("u8", 2),
    reads("i8"),
    reads("f8"),
    writes("f8"),
)
def _evaluate(
    rows: np.ndarray,
    shared: np.ndarray,
    lengths: np.ndarray,
    columns: np.ndarray,
    n_shared: int,
    numeric: int,
    thresholds: np.ndarray,
    edges: np.ndarray,
    tables: np.ndarray,
    table_edges: np.ndarray,
    values: np.ndarray,
    result: np.ndarray,
) -> None:
    """Args as `Forest` holds them: the features' thresholds and tables one after another, those of feature i from
    `edges[i]` and `table_edges[i]`, and its values in column `columns[i]`. The first `n_shared` features are those that
    a list shares, the first `numeric` are compared with thresholds, the others are categories. The last row of a table
    is for a missing value. `values` has what each byte of each tree is worth."""
    words = tables.shape[1]
    states = np.empty((_BLOCK, words), np.uint64)
    of_list = np.empty((1, words), np.uint64)
    end = 0
    for number in range(len(lengths)):
        for word in range(words):
            of_list[0, word] = ~np.uint64(0)
        for feature in range(n_shared):
            mine, table = thresholds[edges[feature] : edges[feature + 1]], tables[table_edges[feature] :]
            _narrow(shared, number, 1, columns[feature], mine, table, of_list)
        first, end = end, end + lengths[number]
        for start in range(first, end, _BLOCK):
            n = min(_BLOCK, end - start)
            for row in range(n):
                for word in range(words):
                    states[row, word] = of_list[0, word]
            for feature in range(n_shared, numeric):
                mine, table = thresholds[edges[feature] : edges[feature + 1]], tables[table_edges[feature] :]
                _narrow(rows, start, n, columns[feature], mine, table, states)
            for feature in range(numeric, len(columns)):
                table = tables[table_edges[feature] : table_edges[feature + 1]]
                others = len(table) - 1
                for row in range(n):
                    value = rows[start + row, columns[feature]]
                    place = int(value) if -1.0 < value < others else others  # LightGBM cuts a number's fraction off
                    for word in range(words):
                        states[row, word] &= table[place, word]
            for row in range(n):
                leaves = states[row].view(np.uint8)
                # Four sums, so that an addition need not wait for the one before; and places without a sign, of which
                # none counts from the end: so it takes half the time.
                one, two, three, four = 0.0, 0.0, 0.0, 0.0
                for tree in range(0, len(leaves), 4):
                    at = np.uint32(_BYTES * tree)
                    one += values[at + leaves[tree]]
                    two += values[at + np.uint32(_BYTES) + leaves[tree + 1]]
                    three += values[at + np.uint32(2 * _BYTES) + leaves[tree + 2]]
                    four += values[at + np.uint32(3 * _BYTES) + leaves[tree + 3]]
                result[start + row] = one + two + three + four


@inner
def _narrow(
    rows: np.ndarray, start: int, n: int, column: int, thresholds: np.ndarray, table: np.ndarray, states: np.ndarray
) -> None:
    """Take from the states of n rows what the tests of one feature take away."""
    for row in range(n):
        value = rows[start + row, column]
        place = len(thresholds) + 1 if np.isnan(value) else _below(thresholds, value)
        for word in range(states.shape[1]):
            states[row, word] &= table[place, word]


@inner
def _below(thresholds: np.ndarray, value: float) -> int:
    """How many are below the value. Counting the few that there are is quicker than searching among them, by index at
    least: only then does the compiler count several at once."""
    count = np.int32(0)
    for place in range(len(thresholds)):
        count += np.int32(1) if thresholds[place] < value else np.int32(0)
    return int(count)


def _collect(
    node: Mapping[str, Any],
    tree: int,
    leaves: list[float],
    tests: dict[int, list[tuple[float, bool, int, int]]],
    members: dict[int, list[tuple[list[int], int, int]]],
) -> None:
    """Number the leaves from left to right, and note for each test what its failure takes away."""
    if "leaf_value" in node:
        leaves.append(float(node["leaf_value"]))
        return
    first = len(leaves)
    _collect(node["left_child"], tree, leaves, tests, members)
    if len(leaves) > MOST_LEAVES:
        raise ValueError(f"tree {tree} has more than {MOST_LEAVES} leaves")
    left = sum(1 << leaf for leaf in range(first, len(leaves)))
    feature = int(node["split_feature"])
    if node["decision_type"] == "==":
        numbers = [int(number) for number in str(node["threshold"]).split("||")]
        members.setdefault(feature, []).append((numbers, tree, 255 & ~left))
    else:
        threshold = float(node["threshold"])
        # A feature that was never missing in training treats NaN as 0 (LightGBM: missing_type None).
        holds_when_missing = bool(node["default_left"]) if node["missing_type"] == "NaN" else threshold >= 0.0
        tests.setdefault(feature, []).append((threshold, holds_when_missing, tree, 255 & ~left))
    _collect(node["right_child"], tree, leaves, tests, members)


def _tables(tests: list[tuple[float, bool, int, int]], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds (k,) float32, rising, and (k + 2, width / 8) uint64: what is left of all trees when a value lies above
    the first i thresholds; the last row is for a missing value."""
    exact = np.array([threshold for threshold, _, _, _ in tests])
    # LightGBM takes what is nearly 0 for 0, so both ends of that range are on the same side of every threshold.
    exact = np.where((exact >= 0) & (exact < _ZERO), _ZERO, exact)
    exact = np.where((exact < 0) & (exact >= -_ZERO), np.nextafter(-_ZERO, -np.inf), exact)
    exact = np.where(exact >= _INFINITE, np.inf, exact)
    with np.errstate(over="ignore"):
        single = exact.astype(np.float32)
    # The largest float32 that passes the test: then comparing float32 values with it is the same as with the double.
    single = np.where(single > exact, np.nextafter(single, np.float32(-np.inf)), single).astype(np.float32)
    thresholds, place = np.unique(single, return_inverse=True)
    table = np.full((len(thresholds) + 2, width), 255, np.uint8)
    for (_, holds_when_missing, tree, left_over), lowest in zip(tests, place.tolist(), strict=True):
        table[lowest + 1 : -1, tree] &= left_over
        if not holds_when_missing:
            table[-1, tree] &= left_over
    return thresholds, table.view(np.uint64)


def _category_table(members: list[tuple[list[int], int, int]], width: int) -> np.ndarray:
    """(k + 2, width / 8) uint64: what is left of all trees for each category 0 to k; the last row is for any other."""
    largest = max(max(numbers) for numbers, _, _ in members)
    if largest > _MOST_CATEGORIES:
        raise ValueError(f"category {largest} is too large a number for a table")
    table = np.full((largest + 2, width), 255, np.uint8)
    for numbers, tree, left_over in members:
        others = np.ones(len(table), bool)
        others[numbers] = False
        table[others, tree] &= left_over
    return table.view(np.uint64)
