"""An array whose rows become more: one more costs no copy of all."""

import numpy as np


class GrowingArray:
    """Rows, with room behind them that doubles when it is used up.

    Args:
        rows: (n, ...), copied; `values` has their type.
        fill: what new rows hold. Of zeros the system gives memory only where something is written, so that rows of
            which most stay zero take little.
    """

    def __init__(self, rows: np.ndarray, fill: float = 0) -> None:
        self._fill = fill
        self._n = len(rows)
        self._room = self._made(self._n, rows)
        self._room[: self._n] = rows

    @property
    def values(self) -> np.ndarray:
        """(n, ...), the rows as they are; what is written here is kept until the next `grow`."""
        return self._room[: self._n]

    def grow(self, n: int, written: np.ndarray | None = None) -> None:
        """Have `n` rows, or as many as now where these are more.

        Args:
            written: numbers of the rows that hold anything but the fill; None where that is not known.
        """
        if n > len(self._room):
            room = self._made(max(n, 2 * len(self._room)), self._room)
            rows = slice(0, self._n) if written is None else written
            room[rows] = self._room[rows]
            self._room = room
        self._n = max(n, self._n)

    def _made(self, n: int, like: np.ndarray) -> np.ndarray:
        shape = (n, *like.shape[1:])
        return np.zeros(shape, like.dtype) if self._fill == 0 else np.full(shape, self._fill, like.dtype)
