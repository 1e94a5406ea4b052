"""What another policy would have earned, from the log of the policy that served.

With p_i the logged propensity of what was shown, q_i the target policy's probability of it, w_i = q_i / p_i, r_i the
reward, m_i a model's reward of what was shown and v_i the model's value of the target policy in that context:

    IPS      mean(w r)                      Horvitz and Thompson 1952: unbiased, of large variance
    SNIPS    sum(w r) / sum(w)              Swaminathan and Joachims, NIPS 2015: slightly biased, far steadier
    DR       mean(v + w (r - m))            Dudik, Langford and Li, ICML 2011: right where p or m is right

as the Open Bandit Pipeline (Saito et al. 2021) has them. Effective sample size is (sum w)^2 / sum(w^2), Kish 1965: with
a small one, nothing above can be trusted, whatever its interval says. Intervals are Student's t over users (rows of one
user go together), SNIPS's by the delta method; they are for samples whose largest weights do not carry the sum.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from experiments.statistics.difference import check_alpha
from experiments.statistics.sums import ROUNDING, finite_vector

# Fewer effective rows than this: the normal interval of a weighted mean is not to be trusted.
SMALLEST_EFFECTIVE = 30.0


@dataclass(frozen=True)
class PolicyEstimate:
    """One estimate; `standard_error` and `interval` are None, with the reason, where undefined."""

    value: float | None
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class OffPolicyValue:
    """Estimates of the target policy's mean reward.

    Attributes:
        rows, users: how many of each the log has; without user ids each row is a user.
        ips, snips, doubly_robust: estimates.
        effective_sample_size: rows that an unweighted sample of the target policy would need to say as much.
        largest_weight: the largest weight of any row.
        mean_weight: the mean weight before any cut; near 1 where the propensities are right and the log covers what the
            target shows.
        clipped: rows whose weight was cut.
        warnings: what the reader should know, in words.
        supported: rows of which the target could have shown the same. What it would show and the log never could is
            worth 0 to IPS and left out of SNIPS; `mean_weight` is about the share of it that the log covers.
    """

    rows: int
    users: int
    ips: PolicyEstimate
    snips: PolicyEstimate
    doubly_robust: PolicyEstimate
    effective_sample_size: float | None
    largest_weight: float | None
    mean_weight: float | None
    clipped: int
    warnings: tuple[str, ...]
    supported: int


def off_policy_value(
    rewards: np.ndarray,
    logged_propensity: np.ndarray,
    target_probability: np.ndarray,
    *,
    model_reward: np.ndarray | None = None,
    target_value: np.ndarray | None = None,
    users: np.ndarray | None = None,
    largest_weight: float | None = None,
    alpha: float = 0.05,
) -> OffPolicyValue:
    """Estimate from (n,) arrays, one row for each thing shown.

    Args:
        model_reward, target_value: m and v above; without them there is no doubly robust estimate.
        users: (n,) ids; rows of one user are one observation to the intervals.
        largest_weight: weights above are cut to it, which biases towards the log's policy.

    Raises:
        ValueError: naming the argument: lengths that differ, values that are not finite, propensities not in (0, 1],
            probabilities not in [0, 1], one of `model_reward` and `target_value` without the other.
    """
    check_alpha(alpha)
    r = finite_vector(rewards, "rewards")
    p = finite_vector(logged_propensity, "logged_propensity")
    q = finite_vector(target_probability, "target_probability")
    if (model_reward is None) != (target_value is None):
        raise ValueError("model_reward and target_value are needed together")
    m = None if model_reward is None else finite_vector(model_reward, "model_reward")
    v = None if target_value is None else finite_vector(target_value, "target_value")
    _check_rows(r, p, q, m, v)
    codes, n_users = _user_codes(users, len(r))
    if largest_weight is not None and not largest_weight > 0:
        raise ValueError(f"largest_weight must be above 0, not {largest_weight!r}")
    if len(r) == 0:
        nothing = PolicyEstimate(None, reason="no rows")
        return OffPolicyValue(0, 0, nothing, nothing, nothing, None, None, None, 0, (), supported=0)
    raw = q / p
    w = raw if largest_weight is None else np.minimum(raw, largest_weight)
    clipped = int(np.count_nonzero(raw > w))
    if not w.any():
        unsupported = PolicyEstimate(None, reason="no support: the target would show nothing of what was logged")
        return OffPolicyValue(
            len(r), n_users, unsupported, unsupported, unsupported, 0.0, 0.0, 0.0, clipped, (), supported=0
        )
    ips = _mean_estimate(w * r, codes, n_users, alpha)
    snips = _self_normalised(w, r, codes, n_users, alpha)
    if m is None or v is None:
        doubly_robust = PolicyEstimate(None, reason="no reward model was given")
    else:
        doubly_robust = _mean_estimate(v + w * (r - m), codes, n_users, alpha)
    squares = float(w @ w)
    effective = float(w.sum()) ** 2 / squares
    return OffPolicyValue(
        rows=len(r),
        users=n_users,
        ips=ips,
        snips=snips,
        doubly_robust=doubly_robust,
        effective_sample_size=effective,
        largest_weight=float(w.max()),
        mean_weight=float(raw.mean()),
        clipped=clipped,
        warnings=_warnings(w, raw, effective, clipped),
        supported=int(np.count_nonzero(q)),
    )


def _mean_estimate(scores: np.ndarray, codes: np.ndarray, n_users: int, alpha: float) -> PolicyEstimate:
    value = float(scores.mean())
    return _with_interval(value, scores - value, len(scores), float(np.abs(scores).max()), codes, n_users, alpha)


def _self_normalised(w: np.ndarray, r: np.ndarray, codes: np.ndarray, n_users: int, alpha: float) -> PolicyEstimate:
    total = float(w.sum())
    value = float(w @ r) / total
    scale = float((w * np.abs(r)).max()) or 1.0
    return _with_interval(value, w * (r - value), total, scale, codes, n_users, alpha)


def _with_interval(
    value: float,
    residuals: np.ndarray,
    divisor: float,
    scale: float,
    codes: np.ndarray,
    n_users: int,
    alpha: float,
) -> PolicyEstimate:
    """Interval from the users' sums of residuals (linearised), which sum to 0 over all."""
    if n_users < 2:
        return PolicyEstimate(value, reason="one user, which has no variance")
    sums = np.bincount(codes, weights=residuals, minlength=n_users)
    spread = float(sums @ sums)
    if spread <= (ROUNDING * scale) ** 2 * len(residuals):
        return PolicyEstimate(value, reason="zero variance")
    error = math.sqrt(spread * n_users / (n_users - 1)) / divisor
    width = float(stdtrit(n_users - 1, 1.0 - alpha / 2.0)) * error
    return PolicyEstimate(value, error, (value - width, value + width))


def _warnings(w: np.ndarray, raw: np.ndarray, effective: float, clipped: int) -> tuple[str, ...]:
    found = []
    if effective < SMALLEST_EFFECTIVE:
        found.append(f"effective sample size {effective:.1f} of {len(w)} rows: too small to trust the intervals")
    largest = float(w.max())
    if len(w) >= SMALLEST_EFFECTIVE and largest > 0.1 * float(w.sum()):
        found.append(f"one row carries {largest / float(w.sum()):.0%} of the weight")
    # By chance the mean weight strays a few standard errors from 1, not more.
    error = float(raw.std()) / math.sqrt(len(raw))
    if abs(float(raw.mean()) - 1.0) > 4.0 * error + 1e-9:
        found.append(
            f"mean weight {float(raw.mean()):.3f} instead of 1: propensities are wrong, or the target shows what the "
            "log never could"
        )
    if clipped:
        found.append(f"{clipped} weights were cut: biased towards the policy that served")
    return tuple(found)


def _check_rows(r: np.ndarray, p: np.ndarray, q: np.ndarray, m: np.ndarray | None, v: np.ndarray | None) -> None:
    named = {"logged_propensity": p, "target_probability": q, "model_reward": m, "target_value": v}
    for name, values in named.items():
        if values is not None and len(values) != len(r):
            raise ValueError(f"{name} has {len(values)} rows, rewards has {len(r)}")
    for name, values, wrong in (
        ("logged_propensity", p, (p <= 0) | (p > 1)),
        ("target_probability", q, (q < 0) | (q > 1)),
    ):
        if wrong.any():
            place = int(np.argmax(wrong))
            raise ValueError(f"{name}[{place}] is {values[place]}, which is no probability of something shown")


def _user_codes(users: np.ndarray | None, rows: int) -> tuple[np.ndarray, int]:
    if users is None:
        return np.arange(rows), rows
    if len(users) != rows:
        raise ValueError(f"users has {len(users)} rows, rewards has {rows}")
    found, codes = np.unique(users, return_inverse=True)
    return codes, len(found)
