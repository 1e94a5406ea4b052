"""What one step of training reads: pieces of sequences, padded to one of few widths."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from models.sequence.histories import UserSequences

PIECES = 20
"""Of one user, the latest: a user with 100,000 events is no more than a row of readers."""
_WIDTHS = 3  # the length, a half and a quarter of it: each is compiled once


class Batch(NamedTuple):
    """`items` (b, w) int32 and `targets` (b, w) int32, what comes next; -1 in the padding, which stands at the end."""

    items: np.ndarray
    targets: np.ndarray


def cut(sequences: UserSequences, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of `length` events and the one that follows, from the latest back; `PIECES` of each user at most.

    Returns:
        starts (p,) and ends (p,) in `sequences.items`; a piece has two events at least.
    """
    first, last = sequences.starts[:-1], sequences.starts[1:]
    # A piece's last event is the first of the next one, so that it is foretold and read.
    number = np.minimum(np.maximum(0, -(-(last - first - 1) // length)), PIECES)
    of = np.repeat(np.arange(len(first)), number)
    back = np.arange(len(of)) - np.repeat(np.cumsum(number) - number, number)
    ends = last[of] - back * length
    starts = np.maximum(first[of], ends - length - 1)
    return starts, ends


def batches(sequences: UserSequences, length: int, tokens: int, generator: np.random.Generator) -> Iterator[Batch]:
    """Without end: all pieces in a new random order each time, those of like size together.

    Raises:
        ValueError: no user has two events.
    """
    starts, ends = cut(sequences, length)
    if not len(starts):
        raise ValueError("no user has two events in a row, so there is no order to learn from")
    sizes = ends - starts - 1
    widths = np.array([max(1, length >> shift) for shift in reversed(range(_WIDTHS))])
    width_of = widths[np.searchsorted(widths, sizes)]
    while True:
        order = generator.permutation(len(starts))
        found: list[tuple[int, np.ndarray]] = []
        for width in np.unique(widths).tolist():
            same = order[width_of[order] == width]
            rows = max(1, tokens // width)
            found += [(width, same[place : place + rows]) for place in range(0, len(same), rows)]
        for place in generator.permutation(len(found)).tolist():
            width, pieces = found[place]
            yield _padded(sequences.items, starts[pieces], ends[pieces], width, max(1, tokens // width))


def _padded(items: np.ndarray, starts: np.ndarray, ends: np.ndarray, width: int, rows: int) -> Batch:
    place = starts[:, None] + np.arange(width)
    inside = place < ends[:, None] - 1
    read = np.full((rows, width), -1, np.int32)
    targets = read.copy()
    read[: len(starts)][inside] = items[place[inside]]
    targets[: len(starts)][inside] = items[place[inside] + 1]
    return Batch(read, targets)
