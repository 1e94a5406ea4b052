"""The sums of LightGBM's trees of any size, walked tree by tree over blocks of rows.

LightGBM's own predict walks row by row and spends most of its time between trees. The sums are the same to the last
bit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.compiled import compiled, reads, writes

_ZERO = float(np.float32(1e-35))  # LightGBM's kZeroThreshold
_MISSING = {"None": 0, "NaN": 1, "Zero": 2}
_BLOCK = 512  # rows whose place in one tree is found before the next tree


class TreeWalk:
    """Trees without categories.

    Args:
        trees: the `tree_info` of LightGBM's `dump_model`.
    """

    def __init__(self, trees: Sequence[Mapping[str, Any]]) -> None:
        nodes: list[tuple[int, float, int, bool, int, int]] = []
        leaves: list[float] = []
        roots = [_added(tree["tree_structure"], nodes, leaves) for tree in trees]
        columns = list(zip(*nodes, strict=True)) if nodes else [()] * 6
        kinds = ("i8", "f8", "i8", "?", "i8", "i8")
        self._nodes = [np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
        self._roots, self._leaves = np.array(roots, np.int64), np.array(leaves)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """(n,) float64 sums for (n, features) float32 rows."""
        found = np.zeros(len(rows))
        features, thresholds, missing, default_left, left, right = self._nodes
        _walk(
            np.ascontiguousarray(rows, np.float32),
            self._roots,
            features,
            thresholds,
            missing,
            default_left,
            left,
            right,
            self._leaves,
            found,
        )
        return found


def _added(node: Mapping[str, Any], nodes: list[tuple[int, float, int, bool, int, int]], leaves: list[float]) -> int:
    """The number of the node; a leaf's is -1 - its place among the leaves."""
    if "leaf_value" in node:
        leaves.append(node["leaf_value"])
        return -len(leaves)
    if node["decision_type"] != "<=":
        raise ValueError("a tree asks for a category")
    number = len(nodes)
    nodes.append((0, 0.0, 0, False, 0, 0))
    left, right = (_added(node[side], nodes, leaves) for side in ("left_child", "right_child"))
    missing = _MISSING[node["missing_type"]]
    nodes[number] = node["split_feature"], node["threshold"], missing, node["default_left"], left, right
    return number


@compiled(
    reads("f4", 2), reads("i8"), reads("i8"), reads("f8"), reads("i8"), reads("?"), reads("i8"), reads("i8"),
    reads("f8"), writes("f8"),
)  # fmt: skip
def _walk(
    rows: np.ndarray,
    roots: np.ndarray,
    features: np.ndarray,
    thresholds: np.ndarray,
    missing: np.ndarray,
    default_left: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    leaves: np.ndarray,
    found: np.ndarray,
) -> None:
    for start in range(0, len(rows), _BLOCK):
        end = min(start + _BLOCK, len(rows))
        for root in roots:
            for row in range(start, end):
                node = root
                while node >= 0:
                    value = float(rows[row, features[node]])
                    kind = missing[node]
                    if np.isnan(value) and kind != 1:
                        value = 0.0
                    absent = (kind == 1 and np.isnan(value)) or (kind == 2 and abs(value) <= _ZERO)
                    goes_left = default_left[node] if absent else value <= thresholds[node]
                    node = left[node] if goes_left else right[node]
                found[row] += leaves[-1 - node]
