"""Average precision: the one definition behind every MAP@10, offline, live and in experiments.

With hits_r = 1 where the item at rank r was relevant,

    AP@k = sum over ranks r <= k of hits_r * (hits up to r) / r, over the number of items that were there to be hit

Offline that number is known: |relevant|, as the published benchmark has it, or min(|relevant|, k). Live it is not,
since all that is known to be relevant is what the user took up: divided by that, a list on which more is taken up would
count less. So live lists are divided by k, the places that there were to hit: a further hit only ever adds.
"""

from typing import Any

import numpy as np

DEPTH = 10
"""Places of a list that the live MAP looks at."""


def average_precision(hits: np.ndarray, relevant: Any) -> Any:
    """(...) values of (..., k) bool hits by rank; `relevant` (...) is what each sum is divided by."""
    ranks = np.arange(1, hits.shape[-1] + 1)
    return (hits * np.cumsum(hits, axis=-1) / ranks).sum(axis=-1) / relevant


def live_average_precision(hits: Any) -> float:
    """Of one list that was shown: hits by rank, of which the first `DEPTH` count."""
    return float(average_precision(np.asarray(hits, bool)[:DEPTH], DEPTH))
