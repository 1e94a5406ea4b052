"""Standard scores within one list, compiled."""

from math import nan, sqrt

import numpy as np

from models.compiled import inner


@inner
def standardise(values: np.ndarray, present: np.ndarray, out: np.ndarray) -> None:
    """Values less their mean, over their standard deviation, both over the `present` ones only. NaN where a value is
    absent; 0 where all are equal."""
    count, total, squares = 0, 0.0, 0.0
    for place in range(len(values)):
        if present[place]:
            count += 1
            total += values[place]
    mean = total / max(count, 1)
    for place in range(len(values)):
        if present[place]:
            squares += (values[place] - mean) ** 2
    deviation = sqrt(squares / max(count, 1))
    flat = deviation <= 1e-6 * abs(mean)  # rounding, not spread
    for place in range(len(values)):
        if not present[place]:
            out[place] = nan
        else:
            out[place] = 0.0 if flat else (values[place] - mean) / deviation
