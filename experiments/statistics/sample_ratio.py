"""Sample-ratio mismatch: do the arms hold the users that the weights promise?

A chi-square test of the counts against the weights (Fabijan et al., "Diagnosing Sample Ratio Mismatch in Online
Controlled Experiments", KDD 2019). A mismatch means that users were lost or counted unevenly, and then no comparison
of the arms means anything. An arm with weight 0 is left out; an arm with a weight and no users counts, since losing a
whole arm is the worst mismatch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import chdtrc

# Below 5 expected users in an arm the chi-square distribution is no longer a fair approximation (Cochran 1954).
SMALLEST_EXPECTED = 5.0


@dataclass(frozen=True)
class SampleRatio:
    """The users of each arm, tested against what the weights promise.

    Attributes:
        observed: users in each arm.
        expected: users that the weights promise, None for an arm without weight.
        chi_square, p_value: None where undefined.
        reason: why undefined.
    """

    observed: tuple[int, ...]
    expected: tuple[float | None, ...]
    chi_square: float | None
    p_value: float | None
    reason: str | None


def sample_ratio_test(observed: Sequence[int], weights: Sequence[float]) -> SampleRatio:
    """Chi-square of observed users against weights, on any scale (shares, or expected counts when weights changed).

    Raises:
        ValueError: lengths differ, or a count or weight is negative or not finite.
    """
    if len(observed) != len(weights):
        raise ValueError(f"{len(observed)} observed counts, but {len(weights)} weights")
    for name, values in (("observed", observed), ("weights", weights)):
        for place, value in enumerate(values):
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{name}[{place}] must be a number from 0, not {value!r}")
    used = [place for place, weight in enumerate(weights) if weight > 0]
    users = sum(observed[place] for place in used)
    share = sum(weights[place] for place in used)
    expected = tuple(users * weight / share if weight > 0 else None for weight in weights)
    reason = None
    if len(used) < 2:
        reason = "fewer than two arms have a weight"
    elif users == 0:
        reason = "no users yet"
    elif (smallest := min(value for value in expected if value is not None)) < SMALLEST_EXPECTED:
        reason = f"too few users: an arm should have {smallest:.3g}, the test needs {SMALLEST_EXPECTED:.0f}"
    if reason is not None:
        return SampleRatio(tuple(observed), expected, None, None, reason)
    chi_square = sum(
        (count - wanted) ** 2 / wanted for count, wanted in zip(observed, expected, strict=True) if wanted is not None
    )
    p_value = float(chdtrc(len(used) - 1, chi_square))
    return SampleRatio(tuple(observed), expected, chi_square, p_value, None)
