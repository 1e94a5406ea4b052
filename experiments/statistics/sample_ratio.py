"""Sample-ratio mismatch: do the arms hold the users that the weights promise?

A mismatch means that users were lost or counted unevenly, and then no comparison of the arms means anything (Fabijan et
al., "Diagnosing Sample Ratio Mismatch in Online Controlled Experiments", KDD 2019). Health is looked at for as long as
an experiment runs, so a sequential test decides about it:

    M. Lindon and A. Malek, "Anytime-valid inference for multinomial count data", 2020 (arXiv 2011.03567)

With counts x of n users, weights theta (which sum to 1) and a Dirichlet(c theta) mixture over what the shares may be
instead, the Bayes factor against the weights is

    B = Gamma(c) / Gamma(c + n)  *  product over arms of Gamma(c theta_i + x_i) / (Gamma(c theta_i) theta_i^x_i)

Under the weights it is a martingale that begins at 1, so it ever reaches 1 / a with a chance of at most a, however
often it is looked at (Ville's inequality), and p = min(1, 1 / B) may be compared with a at every look. The minimum of p
over all looks so far is a valid p-value too, and the paper's. It is needed where a verdict must stay once it has been
given. Here it is not: the present p is never below that minimum, so leaving it out only errs towards quiet, and an
experiment whose counts have come right again is not called unhealthy for ever.

A small c finds a lost arm among a few users, a large one a small loss among many. The mean of several B is a martingale
too, so `CONCENTRATIONS` are used together, at the price of a factor of their number.

Weights that a bandit moves enter as their mean over the users. The counts then spread no more than multinomial ones, so
this errs towards quiet as well.

The chi-square test of the same counts is shown beside it. Its p-value holds for one look at a number of users that was
fixed before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, gammaln, logsumexp

# Below 5 expected users in an arm the chi-square distribution is no longer a fair approximation (Cochran 1954).
SMALLEST_EXPECTED = 5.0
CONCENTRATIONS = (2.0, 100.0, 10_000.0)


@dataclass(frozen=True)
class SampleRatio:
    """The users of each arm, tested against what the weights promise. An arm without weight is left out.

    Attributes:
        observed: users in each arm.
        expected: users that the weights promise, None for an arm without weight.
        always_valid_p_value: by the sequential test, which decides about health; None where undefined.
        chi_square, p_value: of the test for one look; None where undefined.
        reason: why one of the two is undefined.
    """

    observed: tuple[int, ...]
    expected: tuple[float | None, ...]
    always_valid_p_value: float | None
    chi_square: float | None
    p_value: float | None
    reason: str | None


def sample_ratio_test(observed: Sequence[int], weights: Sequence[float]) -> SampleRatio:
    """Observed users against weights, on any scale (shares, or expected counts when weights changed).

    An arm with weight 0 is left out; an arm with a weight and no users counts, since losing a whole arm is the worst
    mismatch.

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
    if reason is not None:
        return SampleRatio(tuple(observed), expected, None, None, None, reason)
    counts, promised = (np.array([values[place] for place in used], float) for values in (observed, weights))
    always_valid = float(always_valid_p_values(counts, promised / share))
    smallest = min(value for value in expected if value is not None)
    if smallest < SMALLEST_EXPECTED:
        reason = f"too few users: an arm should have {smallest:.3g}, the test needs {SMALLEST_EXPECTED:.0f}"
        return SampleRatio(tuple(observed), expected, always_valid, None, None, reason)
    chi_square = sum(
        (count - wanted) ** 2 / wanted for count, wanted in zip(observed, expected, strict=True) if wanted is not None
    )
    p_value = float(chdtrc(len(used) - 1, chi_square))
    return SampleRatio(tuple(observed), expected, always_valid, chi_square, p_value, None)


def always_valid_p_values(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(...) p-values of (..., k) counts against shares above 0 that sum to 1, (k,) or a row for each of counts; may be
    looked at any time."""
    users = counts.sum(axis=-1)
    likelihood = (counts * np.log(shares)).sum(axis=-1)
    factors = []
    for concentration in CONCENTRATIONS:
        prior = concentration * shares
        moved = (gammaln(prior + counts) - gammaln(prior)).sum(axis=-1)
        factors.append(gammaln(concentration) - gammaln(concentration + users) + moved - likelihood)
    log_factor = logsumexp(factors, axis=0) - math.log(len(CONCENTRATIONS))
    p_values: np.ndarray = np.exp(np.minimum(0.0, -log_factor))
    return p_values
