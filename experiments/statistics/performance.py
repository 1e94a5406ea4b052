"""Whether a live metric is below its value at deployment: a ratio of sums over users then and now.

It is looked at again and again while the present window moves on, so the interval is wide (99.99 %), and both must
hold: the loss as measured is more than `max_drop`, and the whole interval lies below 0. Noise alone then stays quiet;
how often it does not is measured in the tests.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from experiments.statistics.ratio import ratio, ratio_difference
from experiments.statistics.sums import PairSums

CONFIDENCE = 0.9999


@dataclass(frozen=True)
class Change:
    """A metric now, compared with its value at deployment.

    Attributes:
        then, now: its values, None where undefined.
        relative: (now - then) / then, with its interval; None where undefined.
        dropped: whether it is down by more than was allowed; None where that cannot be said.
        reason: why not, in words.
    """

    then: float | None
    now: float | None
    relative: float | None = None
    low: float | None = None
    high: float | None = None
    dropped: bool | None = None
    reason: str | None = None


def change_since(then: PairSums, now: PairSums, max_drop: float, confidence: float = CONFIDENCE) -> Change:
    """Compare a metric now with its value then; each user's numerator is `main` of the sums, the denominator `other`.

    Args:
        max_drop: largest loss that is borne, as a share: 0.1 for 10 %.
    """
    found = ratio_difference(then, now, relative=True)
    values = ratio(then), ratio(now)
    if found.value is None or found.variance is None:
        return Change(*values, reason=found.reason)
    width = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(found.variance)
    low, high = found.value - width, found.value + width
    return Change(*values, found.value, low, high, dropped=found.value < -max_drop and high < 0)


def share_interval(hits: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's interval (1927) of a share of independent cases; (0, 1) without any."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    width = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - width), min(1.0, centre + width)
