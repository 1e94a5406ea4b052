"""What is said of a promoted model once its watch is over."""

import numpy as np

from configs.settings import AutopilotLimits
from deployments.autopilot.promotion_guard import begin, comparison
from experiments.statistics.sums import PairSums, pack_sums
from features.serving.slots import Slot

OLD, NEW = Slot("v1", "/bundles/v1", 0, "first"), Slot("v2", "/bundles/v2", 1, "promoted")


def users(share: float, seed: int, n: int = 300, lists: int = 5) -> PairSums:
    hits = np.random.default_rng(seed).binomial(lists, share, n).astype(float)
    return PairSums.of(hits, np.full(n, float(lists)))


def test_live_quality_of_the_new_model_stands_beside_the_old_ones() -> None:
    clicks, precision = users(0.4, 1), users(0.2, 2)
    watched = begin(NEW, OLD, {}, pack_sums(clicks), pack_sums(precision), AutopilotLimits())
    now = users(0.6, 3)
    said = comparison(watched, now, PairSums.of(np.empty(0), np.empty(0)))
    rate_before, rate_now = clicks.total / clicks.other_total, now.total / now.other_total
    assert f"its click rate is {rate_now:.4f}, that of the model before was {rate_before:.4f} (+" in said
    assert "MAP@10" not in said, "of which nothing is known yet"


def test_without_lists_of_the_model_before_nothing_is_said() -> None:
    watched = begin(NEW, OLD, {}, None, None, AutopilotLimits())
    assert comparison(watched, users(0.6, 3), users(0.6, 3)) == ""
