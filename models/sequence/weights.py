"""The trained arrays of a sequence model, beside the item vectors."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Weights = Mapping[str, np.ndarray]
"""By name, float32; see `shapes`."""


def shapes(length: int, dimensions: int, blocks: int) -> dict[str, tuple[int, ...]]:
    """The shape of each array: those of the blocks lie one after another along the first axis."""
    square, vector = (blocks, dimensions, dimensions), (blocks, dimensions)
    return {
        "positions": (length, dimensions),
        "attention_scale": vector,
        "attention_shift": vector,
        "query": square,
        "key": square,
        "value": square,
        "attention_out": square,
        "inner_scale": vector,
        "inner_shift": vector,
        "inner": square,
        "inner_bias": vector,
        "inner_out": square,
        "inner_out_bias": vector,
        "last_scale": (dimensions,),
        "last_shift": (dimensions,),
    }


def check_weights(weights: Weights, heads: int, dimensions: int) -> None:
    """Check that the arrays make a network over item vectors of so many dimensions.

    Raises:
        ValueError: one is missing, unexpected, of another shape or kind, or holds numbers that are not finite.
    """
    if heads < 1 or dimensions % heads:
        raise ValueError(f"sequence: {heads} heads do not divide {dimensions} dimensions")
    for name in ("positions", "query"):
        if name not in weights or weights[name].ndim != len(shapes(1, 1, 1)[name]):
            raise ValueError(f"sequence.{name} is missing, or has another number of axes than it must have")
    expected = shapes(len(weights["positions"]), dimensions, len(weights["query"]))
    if set(weights) != set(expected):
        raise ValueError(f"sequence: arrays {sorted(weights)}, expected {sorted(expected)}")
    for name, shape in expected.items():
        array = weights[name]
        if array.shape != shape or array.dtype != np.float32 or 0 in shape:
            raise ValueError(f"sequence.{name} is {array.dtype} {array.shape}, expected float32 {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"sequence.{name} holds numbers that are not finite")


@dataclass(frozen=True)
class SequenceNetwork:
    """The network of a bundle: `weights` (see `shapes`) and the number of attention heads."""

    weights: Weights
    heads: int
