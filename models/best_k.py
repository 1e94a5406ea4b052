"""The best k of many values, for compiled functions: a heap of the best so far, whose root is the worst of them.

Equal values: the lower id is the better one. One pass and no copy, where numpy's sorts would also be the longest part
of what has to be compiled.
"""

import numpy as np

from models.compiled import inner


@inner
def _worse(value: float | np.float32, name: int, other: float | np.float32, other_name: int) -> bool:
    return bool(value < other or (value == other and name > other_name))


@inner
def _sink(values: np.ndarray, ids: np.ndarray, n: int) -> None:
    """Restore the heap of the first n after its root was replaced."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= n:
            return
        if child + 1 < n and _worse(values[child + 1], ids[child + 1], values[child], ids[child]):
            child += 1
        if not _worse(values[child], ids[child], values[place], ids[place]):
            return
        values[place], values[child] = values[child], values[place]
        ids[place], ids[child] = ids[child], ids[place]
        place = child


@inner
def offer(values: np.ndarray, ids: np.ndarray, n: int, value: float | np.float32, name: int) -> int:
    """Take `value` into the heap of the first n of `values` and `ids` if it is one of the best that they have room
    for; how many are held then."""
    k = len(values)
    if n == k:
        if k > 0 and _worse(values[0], ids[0], value, name):
            values[0], ids[0] = value, name
            _sink(values, ids, k)
        return k
    place = n
    while place > 0:
        parent = (place - 1) // 2
        if not _worse(value, name, values[parent], ids[parent]):
            break
        values[place], ids[place] = values[parent], ids[parent]
        place = parent
    values[place], ids[place] = value, name
    return n + 1


@inner
def best_first(values: np.ndarray, ids: np.ndarray, n: int) -> None:
    """Bring the heap of the first n into order, the best first."""
    for last in range(n - 1, 0, -1):
        values[0], values[last] = values[last], values[0]
        ids[0], ids[last] = ids[last], ids[0]
        _sink(values, ids, last)
