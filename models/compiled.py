"""Functions compiled to machine code by numba: loops over small arrays, where numpy's calls cost more than the sums.

Compiling takes seconds, so it must never happen in a request: what is called from outside names its types, is compiled
for these alone, and refuses others. Serving replicas call `compile_all` before they take requests; everybody else
compiles at the first call. The results are kept in `__pycache__` beside the source, or in `NUMBA_CACHE_DIR`; where
neither can be written to, every process compiles anew.
"""

import contextlib
import fcntl
import threading
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numba import from_dtype, njit, types

F = TypeVar("F", bound=Callable[..., object])

_entries: list[Callable[[], None]] = []
_lock = threading.Lock()


def reads(kind: str, dimensions: int = 1) -> Any:
    """An array that is only read, C-contiguous; `kind` as numpy writes it: f4, i8, ?, ..."""
    return types.Array(from_dtype(np.dtype(kind)), dimensions, "C", readonly=True)


def writes(kind: str, dimensions: int = 1) -> Any:
    """An array that is written to, C-contiguous."""
    return types.Array(from_dtype(np.dtype(kind)), dimensions, "C")


def _dispatcher(function: Callable[..., object]) -> Any:
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no place for the results: a read-only installation without a home
        return njit(nogil=True, error_model="numpy")(function)


@contextlib.contextmanager
def _alone(dispatcher: Any) -> Iterator[None]:
    """Hold a lock between processes while a function is compiled. Those of a stack start together, and the second one
    reads from disk what the first one has compiled, instead of doing the same."""
    folder = dispatcher._cache.cache_path
    with contextlib.ExitStack() as held:
        if folder is not None:
            with contextlib.suppress(OSError):  # without such a place, nothing is kept there either
                Path(folder).mkdir(parents=True, exist_ok=True)
                lock = held.enter_context((Path(folder) / f"{dispatcher.py_func.__name__}.lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def inner(function: F) -> F:
    """A function that is called from compiled ones only, and compiled with them."""
    return cast(F, _dispatcher(function))


def compiled(*arguments: Any) -> Callable[[F], F]:
    """A function that is called from outside, with arguments of these types.

    It lets go of the interpreter's lock, and 1 / 0.0 is infinite as in numpy. Arguments of other types raise TypeError.
    """

    def wrap(function: F) -> F:
        dispatcher = _dispatcher(function)
        ready = False

        def compile_once() -> None:
            nonlocal ready
            with _lock, _alone(dispatcher):
                if not ready:
                    dispatcher.compile(arguments)
                    dispatcher.disable_compile()
                    ready = True

        @wraps(function)
        def call(*values: object) -> object:
            if not ready:
                compile_once()
            return dispatcher(*values)

        _entries.append(compile_once)
        return cast(F, call)

    return wrap


def compile_all() -> int:
    """Compile whatever has been imported, or read it from disk. Returns how many functions that is."""
    for compile_once in _entries:
        compile_once()
    return len(_entries)
