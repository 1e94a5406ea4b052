"""Simulated experiments: many at once, reduced to sums before any statistic is computed."""

from collections.abc import Callable, Iterator

import numpy as np

from experiments.statistics.sums import PairSums, RatioSums, Sums

Draw = Callable[[tuple[int, int]], np.ndarray]
PairDraw = Callable[[tuple[int, int]], tuple[np.ndarray, np.ndarray]]
TripleDraw = Callable[[tuple[int, int]], tuple[np.ndarray, np.ndarray, np.ndarray]]

_BLOCK = 2_000


def arms(draw: Draw, experiments: int, users: int) -> Iterator[Sums]:
    """Sums of an arm of `users`, for each of many experiments."""
    for start in range(0, experiments, _BLOCK):
        rows = draw((min(_BLOCK, experiments - start), users)).astype(float)
        for total, squares in zip(rows.sum(axis=1), (rows**2).sum(axis=1), strict=True):
            yield Sums(users, float(total), float(squares))


def pair_arms(draw: PairDraw, experiments: int, users: int) -> Iterator[PairSums]:
    """`arms` for two values a user."""
    for start in range(0, experiments, _BLOCK):
        x, y = (part.astype(float) for part in draw((min(_BLOCK, experiments - start), users)))
        yield from _pairs(x, y)


def ratio_arms(draw: TripleDraw, experiments: int, users: int) -> Iterator[RatioSums]:
    """`arms` for numerators, denominators and covariates."""
    for start in range(0, experiments, _BLOCK):
        x, y, before = (part.astype(float) for part in draw((min(_BLOCK, experiments - start), users)))
        for parts in zip(_pairs(x, y), _pairs(x, before), _pairs(y, before), strict=True):
            yield RatioSums(*parts)


def _pairs(x: np.ndarray, y: np.ndarray) -> Iterator[PairSums]:
    columns = (x.sum(1), (x**2).sum(1), y.sum(1), (y**2).sum(1), (x * y).sum(1))
    for row in zip(*columns, strict=True):
        yield PairSums(x.shape[1], *(float(value) for value in row))
