"""The scale of ratings that are not from 0.5 to 5: the usual one that their numbers are on, or that none is clear."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FEW = 0.01
"""Below this share, rows beyond a scale that fits all others are outliers: they are refused and set no scale."""
_SOME = 0.05
"""At least this share must lie in the upper half of a scale; fewer may be outliers as well as ratings."""
OURS = (0.5, 5.0)


@dataclass(frozen=True)
class RatingScale:
    """A scale, and how many of the numbers lie beyond it."""

    low: float
    high: float
    n_beyond: int


def rating_scale(ratings: np.ndarray) -> RatingScale | None:
    """The narrowest usual scale that fits all but a few of the finite numbers (n,); None where none is clear."""
    for low, high, fits in _USUAL:
        inside = (ratings >= low) & (ratings <= high)
        n_beyond = len(ratings) - int(inside.sum())
        if n_beyond < FEW * len(ratings) and fits(ratings[inside], high):
            return RatingScale(low, high, n_beyond)
    return None


def likely_scales(ratings: np.ndarray) -> list[list[float]]:
    """What a person may choose from, best first: the usual scales that hold nearly all of the numbers, and their true
    range, which goes before these unless some lie beyond."""
    low, high = float(ratings.min()), float(ratings.max())
    held = [(a, b, ((ratings >= a) & (ratings <= b)).mean()) for a, b, _ in _USUAL if a >= 0 or low < 0]
    usual = [[a, b] for a, b, share in held if share > 1 - 2 * _SOME][:3]
    true = [[low, high]] if low < high and [low, high] not in usual else []
    return [*usual, *true] if any(share < 1 for a, b, share in held if [a, b] in usual) else [*true, *usual]


def _shares(given: np.ndarray, high: float) -> bool:
    """Yes and no, or decimals from 0 to 1. Ones alone may be anything, and 0.5 and 1 are stars too."""
    halves = bool((given * 2 == np.rint(given * 2)).all())
    return given.max() >= 0.9 and (given.min() == 0 or not halves)


def _two_sided(given: np.ndarray, high: float) -> bool:
    """As far below zero as above it."""
    reach = 0.9 * high
    return given.min() <= -reach and given.max() >= reach


def _stars(given: np.ndarray, high: float) -> bool:
    return given.max() > 1


def _with_none(given: np.ndarray, high: float) -> bool:
    """From no star to five."""
    return given.min() < OURS[0] and given.max() >= 0.9 * high


def _points(given: np.ndarray, high: float) -> bool:
    """Up to the end and down into the lower half, with more than a few in the upper half."""
    reaches = given.max() >= (0.9 * high if high >= 10 else high)
    return reaches and given.min() <= high / 2 and (given > high / 2).mean() >= _SOME


def _points_from_0(given: np.ndarray, high: float) -> bool:
    """One zero is enough: whether such a scale begins at 0 or at 1 hardly moves the others."""
    return given.min() < 1 and _points(given, high)


_USUAL: list[tuple[float, float, Callable[[np.ndarray, float], bool]]] = [
    (0, 1, _shares),
    *((-high, high, _two_sided) for high in (1.0, 2.0, 3.0, 5.0, 10.0, 100.0)),
    (*OURS, _stars),
    (0, 5, _with_none),
    *(one for high in (6.0, 7.0, 10.0, 20.0, 100.0) for one in ((0.0, high, _points_from_0), (1.0, high, _points))),
]
