import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.replica.latency import BOUNDS_S, Latency, quantile_s, share_above


def counted(seconds: list[float]) -> list[int]:
    latency = Latency()
    for one in seconds:
        latency.observe(one)
    assert latency.total_s == pytest.approx(sum(seconds))
    return latency.counts


@given(st.lists(st.floats(0.0, 9.9), min_size=1, max_size=300), st.floats(0.01, 0.99))
def test_a_percentile_lies_in_the_bucket_of_the_true_one(seconds: list[float], share: float) -> None:
    true = float(np.quantile(seconds, share, method="inverted_cdf"))
    found = quantile_s(counted(seconds), share)
    assert found is not None
    upper = next(bound for bound in BOUNDS_S if true <= bound)
    lower = max((bound for bound in BOUNDS_S if bound < true), default=0.0)
    assert lower <= found <= upper


def test_nothing_counted_has_no_percentile() -> None:
    assert quantile_s(counted([]), 0.5) is None
    assert share_above(counted([]), 0.5) is None


def test_beyond_the_last_bound_only_the_bound_is_known() -> None:
    assert quantile_s(counted([1000.0]), 0.5) == BOUNDS_S[-1]


def test_the_share_above_a_bound_is_exact() -> None:
    assert share_above(counted([0.1, 0.1, 0.2, 3.5]), 0.1) == 0.5
