"""Whether a new model may replace the champion: both answer the same requests, and users are the unit.

A request's answer is judged by NDCG@10; a user's requests are averaged first, so that busy users do not decide alone.
"""

from dataclasses import dataclass, field

import numpy as np

from configs.settings import Training
from models.evaluation.metrics import Interval, bootstrap_interval


@dataclass(frozen=True)
class JudgedRequests:
    """How a model did on the judging requests.

    Attributes:
        user: (B,) int.
        ndcg: (B,) float, NDCG@10 of each request, NaN where undefined.
        coverage: share of the catalogue that was recommended to anyone.
    """

    user: np.ndarray
    ndcg: np.ndarray
    coverage: float


@dataclass(frozen=True)
class Footprint:
    """What serving pays for a bundle."""

    load_s: float
    size_mb: float


@dataclass(frozen=True)
class GateVerdict:
    """The decision, with its reasons in words."""

    promote: bool
    reasons: tuple[str, ...]
    difference: Interval | None = field(default=None)

    def __str__(self) -> str:
        return ("promoted: " if self.promote else "not promoted: ") + "; ".join(self.reasons)


def judge(
    champion: JudgedRequests | None, new: JudgedRequests, footprint: Footprint, limits: Training, seed: int
) -> GateVerdict:
    """Decide whether the new model may take the champion's place.

    Args:
        champion: how the champion did on the same requests in the same order; None where there is no champion.
        new: the model that wants its place.
        footprint: what serving the new bundle costs.
        limits: margin and guardrails, see `configs.settings.Training`.
        seed: seeds the bootstrap.
    """
    broken = []
    if footprint.load_s > limits.max_load_s:
        broken.append(f"it takes {footprint.load_s:.1f} s to load, more than {limits.max_load_s:.1f}")
    if footprint.size_mb > limits.max_bundle_mb:
        broken.append(f"it is {footprint.size_mb:.0f} MB large, more than {limits.max_bundle_mb:.0f}")
    if champion is None:
        # Without any model nothing would be served at all, so the first one is taken whatever it is like.
        return GateVerdict(True, ("the first model", *broken))
    paired = per_user(new.user, new.ndcg - champion.ndcg)
    if len(paired) < limits.fewest_judged_users:
        lacking = (
            f"no evidence: since the champion was trained {len(paired)} users did something that both models can be "
            f"judged on, and it takes {limits.fewest_judged_users}; wait for more events, compare the two in an "
            "experiment (--slot challenger), or use --force"
        )
        return GateVerdict(False, (lacking, *broken))
    if not paired.any():
        same = (
            f"no evidence: both models gave the {len(paired)} users lists of the same worth, as equal recipes do that "
            "have learned from the same events; wait for more events, or use --force"
        )
        return GateVerdict(False, (same, *broken))
    difference = bootstrap_interval(paired, seed)
    text = (
        f"NDCG@10 {difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}] "
        f"against the champion over {difference.n} users"
    )
    if difference.mean < limits.margin:
        broken.append(f"{text}, wanted at least {limits.margin:+.4f}")
    elif difference.low < -limits.worst_loss:
        broken.append(f"{text}, which may be a loss of more than {limits.worst_loss:.4f}")
    if new.coverage < limits.coverage_share * champion.coverage:
        broken.append(
            f"it recommends {new.coverage:.1%} of the catalogue, the champion {champion.coverage:.1%}; "
            f"at least {limits.coverage_share:.0%} of that must remain"
        )
    return GateVerdict(not broken, tuple(broken) or (text,), difference)


def per_user(user: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of each user's defined values, by rising user; users without any are left out."""
    defined = ~np.isnan(values)
    number = np.bincount(user[defined])
    total = np.bincount(user[defined], values[defined])
    return total[number > 0] / number[number > 0]
