"""BLAS on one thread: its sums depend on how many threads share them, and small systems only wait for one another."""

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import scipy.linalg  # noqa: F401  its BLAS is loaded before the libraries are looked for
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


def one_blas_thread() -> AbstractContextManager[Any]:
    """A context in which BLAS uses one thread.

    The libraries are looked for once in a process: that reads the list of all that is mapped and takes 5 to 14 ms, as
    long as a fit of a small model.
    """
    limited: AbstractContextManager[Any] = _libraries().limit(limits=1, user_api="blas")
    return limited


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()
