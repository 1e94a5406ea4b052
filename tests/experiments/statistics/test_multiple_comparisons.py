from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments.statistics.multiple_comparisons import benjamini_hochberg, holm

METHODS = {"holm": holm, "benjamini_hochberg": benjamini_hochberg}
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize("place", [0, 1])
def test_published_numbers(oracles: dict[str, Any], place: int) -> None:
    oracle = oracles["multiple_comparisons"][place]
    assert METHODS[oracle["method"]](oracle["p_values"]) == pytest.approx(oracle["expect"], abs=oracle["tolerance"])


@settings(deadline=None)
@given(P_VALUES)
def test_benjamini_hochberg_is_scipys(p: list[float]) -> None:
    assert benjamini_hochberg(p) == pytest.approx(list(stats.false_discovery_control(p)))


@settings(deadline=None)
@given(P_VALUES, st.randoms())
def test_adjusting_never_helps_keeps_the_order_and_ignores_positions(p: list[float], random: Any) -> None:
    order = list(range(len(p)))
    random.shuffle(order)
    for method in METHODS.values():
        adjusted = [value for value in method(p) if value is not None]
        assert len(adjusted) == len(p)
        assert all(before <= after <= 1 for before, after in zip(p, adjusted, strict=True))
        assert all(adjusted[a] <= adjusted[b] for a in order for b in order if p[a] < p[b])
        assert method([p[place] for place in order]) == [adjusted[place] for place in order]


@settings(deadline=None)
@given(P_VALUES)
def test_an_undefined_test_counts_for_nothing(p: list[float]) -> None:
    for method in METHODS.values():
        assert method([None, *p, None]) == [None, *method(p), None]


def test_holm_keeps_the_chance_of_any_false_positive() -> None:
    rng = np.random.default_rng(81)
    p = rng.random((10_000, 5))
    positive = np.array([min(value for value in holm(row.tolist()) if value is not None) for row in p]) < 0.05
    assert np.mean(p.min(axis=1) < 0.05) > 0.2
    assert positive.mean() == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("wrong", [1.1, -0.1, float("nan")])
def test_what_is_no_p_value_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"p_values\[2\] must be between 0 and 1"):
        holm([0.5, None, wrong])


def test_no_tests_at_all() -> None:
    assert holm([]) == benjamini_hochberg([]) == []
