"""Checks LightGBM's text form of a model before LightGBM reads it.

LightGBM trusts its own files: a feature's number beyond the features, a child that leads back to its parent, a size
beyond the text crash the process or keep it walking for ever, instead of raising anything. What is checked here is all
that its reader and its walk over the trees take for granted.
"""

import itertools
import math
from collections.abc import Mapping

MOST_LEAVES = 1024
MOST_TREES = 5000
_END = "end of trees"
_CATEGORICAL = 1


def check_model_text(text: str, n_features: int) -> None:
    """Check that a text is a plain LightGBM model of one score over `n_features` features.

    Raises:
        ValueError: it is not; the message names the tree and the field.
    """
    head, start, rest = text.partition("\nTree=0\n")
    if not start:
        raise ValueError("it has no tree")
    header = _fields(head, "the head")
    for name in ("num_class", "num_tree_per_iteration"):
        if _number(header, name, "the head") != 1:
            raise ValueError(f"the head: {name} must be 1, not {header[name]}")
    if (last := _number(header, "max_feature_idx", "the head")) != n_features - 1:
        raise ValueError(f"it has {last + 1} features, expected {n_features}")
    sizes = _numbers(header, "tree_sizes", "the head", None)
    if not 1 <= len(sizes) <= MOST_TREES:
        raise ValueError(f"the head: tree_sizes tells of {len(sizes)} trees, 1 to {MOST_TREES} are read")
    body = (start[1:] + rest).encode()
    place = 0
    for number, size in enumerate(sizes):
        block = body[place : place + size].decode()
        if size < 1 or not block.startswith(f"Tree={number}\n") or block.count("Tree=") != 1:
            raise ValueError(f"the head: tree_sizes does not fit tree {number}")
        _check_tree(_fields(block, f"tree {number}"), f"tree {number}", n_features)
        place += size
    if not body[place:].lstrip(b"\n").startswith(_END.encode()):
        raise ValueError("the trees do not end where tree_sizes says")


def _check_tree(fields: Mapping[str, str], where: str, n_features: int) -> None:
    leaves = _number(fields, "num_leaves", where)
    if not 1 <= leaves <= MOST_LEAVES:
        raise ValueError(f"{where}: num_leaves must be 1 to {MOST_LEAVES}, not {leaves}")
    if _number(fields, "is_linear", where) != 0:
        raise ValueError(f"{where}: is_linear must be 0")
    if not all(math.isfinite(value) for value in _floats(fields, "leaf_value", where, leaves)):
        raise ValueError(f"{where}: leaf_value holds numbers that are not finite")
    categories = _check_categories(fields, where)
    if leaves == 1:
        return
    inner = leaves - 1
    if not all(0 <= feature < n_features for feature in _numbers(fields, "split_feature", where, inner)):
        raise ValueError(f"{where}: split_feature names a feature that there is not")
    kinds = _numbers(fields, "decision_type", where, inner)
    for kind, threshold in zip(kinds, _floats(fields, "threshold", where, inner), strict=True):
        if math.isnan(threshold) or (kind & _CATEGORICAL and not 0 <= threshold < categories):
            raise ValueError(f"{where}: threshold is no number, or names categories that there are not")
    left, right = (_numbers(fields, name, where, inner) for name in ("left_child", "right_child"))
    # Nodes are numbered as they are made, so a child's number is larger than its parent's; -1, -2 ... are leaves.
    if any(child >= 0 and child <= node for side in (left, right) for node, child in enumerate(side)):
        raise ValueError(f"{where}: a child leads back to its parent")
    if sorted(left + right) != [*range(-leaves, 0), *range(1, inner)]:
        raise ValueError(f"{where}: left_child and right_child must name each node and each leaf once")
    for name in ("leaf_weight", "leaf_count"):
        if name in fields:
            _floats(fields, name, where, leaves)
    for name in ("split_gain", "internal_value", "internal_weight", "internal_count"):
        if name in fields:
            _floats(fields, name, where, inner)


def _check_categories(fields: Mapping[str, str], where: str) -> int:
    """How many sets of categories there are; their bits must lie where the boundaries say."""
    count = _number(fields, "num_cat", where)
    if count == 0:
        return 0
    if not 0 < count < MOST_LEAVES:
        raise ValueError(f"{where}: num_cat must be 0 to {MOST_LEAVES - 1}, not {count}")
    edges = _numbers(fields, "cat_boundaries", where, count + 1)
    if edges[0] != 0 or any(after <= before for before, after in itertools.pairwise(edges)):
        raise ValueError(f"{where}: cat_boundaries must rise from 0")
    if not all(0 <= word < 2**32 for word in _numbers(fields, "cat_threshold", where, edges[-1])):
        raise ValueError(f"{where}: cat_threshold must hold words of 32 bits")
    return count


def _fields(block: str, where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in block.split("\n"):
        name, sign, value = line.partition("=")
        if not sign:
            continue
        if name in found:
            raise ValueError(f"{where}: {name[:40]} stands twice")
        found[name] = value
    return found


def _number(fields: Mapping[str, str], name: str, where: str) -> int:
    return _numbers(fields, name, where, 1)[0]


def _numbers(fields: Mapping[str, str], name: str, where: str, count: int | None) -> list[int]:
    values = _words(fields, name, where, count)
    if not all(len(value) < 12 and value.removeprefix("-").isdecimal() and value.isascii() for value in values):
        raise ValueError(f"{where}: {name} must hold whole numbers")
    return [int(value) for value in values]


def _floats(fields: Mapping[str, str], name: str, where: str, count: int) -> list[float]:
    try:
        return [float(value) for value in _words(fields, name, where, count)]
    except ValueError as error:
        if str(error).startswith(where):
            raise
        raise ValueError(f"{where}: {name} must hold numbers") from error


def _words(fields: Mapping[str, str], name: str, where: str, count: int | None) -> list[str]:
    if name not in fields:
        raise ValueError(f"{where}: {name} is missing")
    found = fields[name].split(" ") if fields[name] else []
    if count is not None and len(found) != count:
        raise ValueError(f"{where}: {name} holds {len(found)} values, expected {count}")
    return found
