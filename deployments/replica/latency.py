"""Latency histograms: fixed bounds, one list of counts, percentiles from the counts.

The bounds rise by about a third, so a percentile read from them is off by at most a sixth or so; nothing is sampled and
histograms of several replicas add up.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

BOUNDS_S = (
    *(0.0001, 0.0002, 0.0003, 0.0005, 0.00075),
    *(0.001, 0.0013, 0.0018, 0.0024, 0.0032, 0.0042, 0.0056, 0.0075),
    *(0.01, 0.013, 0.018, 0.024, 0.032, 0.042, 0.056, 0.075),
    *(0.1, 0.13, 0.18, 0.24, 0.32, 0.42, 0.56, 0.75),
    *(1.0, 1.5, 2.0, 3.0, 5.0, 10.0),
)
"""Upper bounds of the buckets in seconds; one more bucket holds what is longer."""


class Latency:
    """A histogram of durations. `observe` takes a fraction of a microsecond."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds


def counts_of(found: Mapping[str, int], stage: str) -> list[int]:
    """The bucket counts of a stage out of counts by name, see `names_of`."""
    return [found.get(name, 0) for name in names_of(stage)]


def names_of(stage: str) -> list[str]:
    """The names under which a stage's bucket counts are kept in the store."""
    return [f"latency:{stage}:{bucket}" for bucket in range(len(BOUNDS_S) + 1)]


def sum_name(stage: str) -> str:
    """The name of a stage's sum of durations, in microseconds."""
    return f"latency_us:{stage}"


def quantile_s(counts: Sequence[int], share: float) -> float | None:
    """The duration in seconds below which `share` of the counted ones lie, linear within its bucket.

    None without any. For what lies beyond the last bound that bound is given, since no more is known.
    """
    total = sum(counts)
    if not total:
        return None
    wanted = share * total
    below = 0
    for bucket, count in enumerate(counts):
        if count and below + count >= wanted:
            if bucket == len(BOUNDS_S):
                return BOUNDS_S[-1]
            low = BOUNDS_S[bucket - 1] if bucket else 0.0
            return low + (BOUNDS_S[bucket] - low) * (wanted - below) / count
        below += count
    return BOUNDS_S[-1]


def share_above(counts: Sequence[int], seconds: float) -> float | None:
    """Share of durations in buckets that begin at `seconds` or later; None without any."""
    total = sum(counts)
    return sum(counts[bisect_left(BOUNDS_S, seconds) + 1 :]) / total if total else None
