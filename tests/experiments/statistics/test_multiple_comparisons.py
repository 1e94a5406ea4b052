from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments.statistics.multiple_comparisons import (
    benjamini_hochberg,
    false_coverage_levels,
    holm,
    holm_levels,
)

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


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 1.0) | st.none(), max_size=6), st.floats(0.001, 0.2))
def test_a_test_passes_at_its_level_exactly_where_its_adjusted_p_value_is_below_alpha(
    p_values: list[float | None], alpha: float
) -> None:
    for adjust, levels in ((holm, holm_levels), (benjamini_hochberg, false_coverage_levels)):
        found = zip(p_values, adjust(p_values), levels(p_values, alpha), strict=True)
        for p, adjusted, level in found:
            assert 0 < level <= alpha
            # Away from the very boundary, where rounding decides.
            near = p is None or adjusted is None or abs(p - level) < 1e-12 or abs(adjusted - alpha) < 1e-12
            assert near or (p < level) == (adjusted < alpha)


def test_levels_are_those_of_the_steps() -> None:
    assert holm_levels([0.04, 0.001, 0.02], 0.06) == pytest.approx([0.06, 0.02, 0.03])
    assert holm_levels([0.04, 0.5, 0.001], 0.06) == pytest.approx([0.03, 0.03, 0.02])
    assert holm_levels([0.5, None], 0.05) == [0.05, 0.05]
    assert false_coverage_levels([0.001, 0.02, 0.5, None], 0.06) == pytest.approx([0.04, 0.04, 0.04, 0.06])
    assert false_coverage_levels([0.9, 0.5], 0.05) == pytest.approx([0.025, 0.025])
    assert holm_levels([], 0.05) == false_coverage_levels([], 0.05) == []


def test_intervals_of_selected_metrics_miss_no_more_often_than_alpha_says() -> None:
    """Ten metrics of which two have an effect: of the intervals of the positive ones, 5 % may miss the truth."""
    rng = np.random.default_rng(97)
    truth = np.array([3.0, 2.0, *[0.0] * 8])
    shares, plain = [], []
    for z in rng.normal(truth, 1.0, (4_000, 10)):
        p_values = (2 * stats.norm.sf(np.abs(z))).tolist()
        positive = np.array([p < 0.05 for p in benjamini_hochberg(p_values)])  # type: ignore[operator]
        widths = stats.norm.isf(np.array(false_coverage_levels(p_values, 0.05)) / 2)
        n = max(1, positive.sum())
        shares.append((positive & (np.abs(z - truth) > widths)).sum() / n)
        plain.append((positive & (np.abs(z - truth) > 1.96)).sum() / n)
    assert np.mean(shares) <= 0.05 + 3 * np.std(shares) / np.sqrt(4_000)
    assert np.mean(plain) > 0.06
