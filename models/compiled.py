"""Functions compiled to machine code by numba: loops over small arrays, where numpy's calls cost more than the sums.

A function is compiled when it is first called with arguments of some types: seconds, spent where a model is loaded and
warmed, not in a request. The result is kept in `__pycache__` beside the source (or in `NUMBA_CACHE_DIR`).
"""

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """The function, compiled. It lets go of the interpreter's lock, and 1 / 0.0 is infinite as in numpy."""
    return cast(F, njit(cache=True, nogil=True, error_model="numpy")(function))
