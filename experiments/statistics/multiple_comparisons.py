"""Several p-values at once: the more are looked at, the more fall below alpha by chance.

`holm` keeps the chance of even one false positive at alpha (S. Holm, "A simple sequentially rejective multiple test
procedure", 1979): the tests that decide. `benjamini_hochberg` keeps the share of false ones among the positives at
alpha (Benjamini and Hochberg, 1995; independent or positively dependent tests): the metrics that are only looked at.

Both return adjusted p-values, to be compared with alpha as they are. An undefined p-value (None) stays undefined and is
not counted among the tests.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import false_discovery_control


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values in the given order: the running maximum of (m - i) p_i over ascending p, at most 1."""
    # SciPy has no Holm; statsmodels' takes 0.4 s and 86 MB more to import on 2 cores, and gives the same digits.
    p, places = _defined(p_values)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return _placed(adjusted, places, len(p_values))


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values in the given order: the running minimum of p_i m / i from the largest down, at most 1."""
    p, places = _defined(p_values)
    return _placed(false_discovery_control(p) if len(p) else p, places, len(p_values))


def _defined(p_values: Sequence[float | None]) -> tuple[np.ndarray, list[int]]:
    places = [place for place, p in enumerate(p_values) if p is not None]
    p = np.array([p_values[place] for place in places], dtype=np.float64)
    wrong = np.flatnonzero(~((p >= 0) & (p <= 1)))
    if len(wrong):
        raise ValueError(f"p_values[{places[wrong[0]]}] must be between 0 and 1, not {p[wrong[0]]}")
    return p, places


def _placed(adjusted: np.ndarray, places: list[int], length: int) -> list[float | None]:
    found: list[float | None] = [None] * length
    for place, value in zip(places, adjusted.tolist(), strict=True):
        found[place] = value
    return found
