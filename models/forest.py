"""Small trees, evaluated for many rows at once without walking them.

A walk through 150 trees of 7 leaves costs LightGBM three microseconds a row, most of it waiting for memory; this takes
a third of that. A tree is a byte with one bit for each leaf. A test that fails takes the leaves on its left away; what
the failed tests of one feature take away together is looked up by where the value lies among that feature's thresholds;
and of what remains in the end, the leftmost leaf is the one that a walk would have reached. (Lucchese et al.,
"QuickScorer", SIGIR 2015, with the loops turned round for arrays.)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MOST_LEAVES = 8
_ZERO = float(np.float32(1e-35))  # LightGBM's kZeroThreshold
_BLOCK = 512  # rows at a time: their bytes stay in the processor's cache


class Forest:
    """Sums of trees of at most `MOST_LEAVES` leaves.

    Args:
        trees: the `tree_info` of LightGBM's `dump_model`, numerical splits only.

    Raises:
        ValueError: a tree is too large, or splits on a category.
    """

    def __init__(self, trees: Sequence[Mapping[str, Any]]) -> None:
        self._n_trees = len(trees)
        width = -(-max(self._n_trees, 1) // 8) * 8  # whole words of eight trees
        tests: dict[int, list[tuple[float, bool, int, int]]] = {}
        values = np.zeros((width, 256))
        for number, tree in enumerate(trees):
            leaves: list[float] = []
            _collect(tree["tree_structure"], number, leaves, tests)
            if len(leaves) > MOST_LEAVES:
                raise ValueError(f"tree {number} has {len(leaves)} leaves, at most {MOST_LEAVES} fit")
            for byte in range(1, 256):
                leaf = (byte & -byte).bit_length() - 1
                values[number, byte] = leaves[leaf] if leaf < len(leaves) else 0.0
        self._values = values.ravel()
        self._offsets = np.arange(width, dtype=np.int32) * 256
        self._width = width
        self._features = [(feature, *_tables(found, width)) for feature, found in sorted(tests.items())]

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """(n,) float64 sums for (n, features) float32 rows. NaN goes where LightGBM sends it."""
        result = np.empty(len(rows))
        # Made once for all blocks: fresh memory costs as much as what is done in it.
        most = min(len(rows), _BLOCK)
        states, takes = (np.empty((most, self._width // 8), np.uint64) for _ in range(2))
        indices, values = np.empty((most, self._width), np.int32), np.empty((most, self._width))
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            state, taken = states[: len(block)], takes[: len(block)]
            state.fill(2**64 - 1)
            for feature, thresholds, table in self._features:
                column = np.ascontiguousarray(block[:, feature])
                place = thresholds.searchsorted(column)
                missing = np.isnan(column)
                if missing.any():
                    place[missing] = len(thresholds) + 1
                table.take(place, axis=0, out=taken, mode="clip")
                np.bitwise_and(state, taken, out=state)
            index = np.add(state.view(np.uint8), self._offsets, out=indices[: len(block)])
            found = self._values.take(index, out=values[: len(block)], mode="clip")
            np.sum(found, axis=1, out=result[start : start + len(block)])
        return result


def _collect(
    node: Mapping[str, Any], tree: int, leaves: list[float], tests: dict[int, list[tuple[float, bool, int, int]]]
) -> None:
    """Number the leaves from left to right, and note for each test what its failure takes away."""
    if "leaf_value" in node:
        leaves.append(float(node["leaf_value"]))
        return
    if node["decision_type"] != "<=":
        raise ValueError(f"tree {tree} splits on a category")
    first = len(leaves)
    _collect(node["left_child"], tree, leaves, tests)
    if len(leaves) > MOST_LEAVES:
        raise ValueError(f"tree {tree} has more than {MOST_LEAVES} leaves")
    left = sum(1 << leaf for leaf in range(first, len(leaves)))
    threshold = float(node["threshold"])
    # A feature that was never missing in training treats NaN as 0 (LightGBM: missing_type None).
    holds_when_missing = bool(node["default_left"]) if node["missing_type"] == "NaN" else threshold >= 0.0
    tests.setdefault(int(node["split_feature"]), []).append((threshold, holds_when_missing, tree, 255 & ~left))
    _collect(node["right_child"], tree, leaves, tests)


def _tables(tests: list[tuple[float, bool, int, int]], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds (k,) float32, rising, and (k + 2, width / 8) uint64: what is left of all trees when a value lies above
    the first i thresholds; the last row is for a missing value."""
    exact = np.array([threshold for threshold, _, _, _ in tests])
    # LightGBM takes what is nearly 0 for 0, so both ends of that range are on the same side of every threshold.
    exact = np.where((exact >= 0) & (exact < _ZERO), _ZERO, exact)
    exact = np.where((exact < 0) & (exact >= -_ZERO), np.nextafter(-_ZERO, -np.inf), exact)
    with np.errstate(over="ignore"):  # 1e300 stands for "whatever is no infinity"
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
