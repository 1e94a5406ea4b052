from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.statistics.difference import Comparison
from experiments.statistics.ratio import (
    LARGEST_SHARE,
    largest_share,
    one_user_decides,
    ratio,
    ratio_difference,
    ratio_variance,
)
from experiments.statistics.sums import PairSums
from experiments.statistics.welch import welch_test
from tests.experiments.simulated_arms import POPULATION, Arms, compared


def test_published_numbers(oracles: dict[str, Any]) -> None:
    (oracle,) = oracles["ratio"]
    names = ("n", "numerator_sum", "numerator_sum_squares", "denominator_sum", "denominator_sum_squares")
    a, b = (PairSums(*(oracle[arm][name] for name in (*names, "sum_products"))) for arm in "ab")
    found = welch_test(ratio_difference(a, b, relative=True))
    assert found.estimate == pytest.approx(oracle["expect"]["lift"], abs=oracle["tolerance"])
    assert found.p_value == pytest.approx(oracle["expect"]["p_value"], abs=oracle["tolerance"])


def impressions(seed: int, rate: float, users: int = POPULATION) -> np.ndarray:
    """(2, users) clicks and impressions; users differ in how much they see and in how they click."""
    rng = np.random.default_rng(seed)
    shown = 1 + rng.poisson(rng.gamma(2.0, 5.0, users))
    taste = rng.beta(20 * rate, 20 * (1 - rate), users)
    return np.array([rng.binomial(shown, taste), shown])


def test_the_variance_is_that_of_the_linearised_rows() -> None:
    clicks, shown = impressions(2, 0.1, 500)
    sums = PairSums.of(clicks, shown)
    linearised = (clicks - ratio(sums) * shown) / shown.mean()
    assert ratio_variance(sums) == pytest.approx(linearised.var(ddof=1))


def test_coverage_and_a_a() -> None:
    usual, keener = impressions(31, 0.10), impressions(32, 0.11)
    control, treatment, same = (
        Arms(population, 10_000, 200, seed) for population, seed in ((usual, 34), (keener, 35), (usual, 36))
    )
    before, after = (population[0].sum() / population[1].sum() for population in (usual, keener))
    for relative, truth in ((False, after - before), (True, after / before - 1)):

        def code(one: int, relative: bool = relative) -> Comparison:
            return welch_test(ratio_difference(control.pair(one), treatment.pair(one), relative))

        found, equal = (compared(control, arms, relative, ratio=True) for arms in (treatment, same))
        found.agrees(code)
        covered, positive = found.covers(truth).mean(), equal.p_values < 0.05
        print(f"ratio relative={relative}: coverage {covered:.4f}, A/A {positive.mean():.4f}")
        assert 0.94 <= covered <= 0.96
        assert 0.04 <= positive.mean() <= 0.06
        assert 0.04 <= positive[:2000].mean() <= 0.06


SOME = PairSums.of(np.array([1.0, 2.0, 0.0]), np.array([3.0, 4.0, 5.0]))


@pytest.mark.parametrize(
    ("treatment", "reason"),
    [
        (PairSums(0, 0, 0, 0, 0, 0), "treatment: no users"),
        (PairSums.of(np.array([1.0]), np.array([2.0])), "treatment: one user"),
        (PairSums.of(np.array([1.0, 2.0]), np.zeros(2)), "treatment: the denominators sum to 0"),
    ],
)
def test_undefined_has_a_reason(treatment: PairSums, reason: str) -> None:
    found = welch_test(ratio_difference(SOME, treatment, relative=False))
    assert (found.estimate, found.p_value) == (None, None)
    assert found.reason is not None
    assert found.reason.startswith(reason)


def test_users_who_all_have_the_same_ratio_are_no_result_in_both_arms_and_one_in_either() -> None:
    """Regression: a treatment in which nobody clicks had no result."""
    shown = np.tile(np.arange(1, 9) * 0.3, 10)
    third, none = PairSums.of(shown / 3, shown), PairSums.of(0 * shown, shown)  # though both parts of `third` spread
    same = welch_test(ratio_difference(third, third, relative=False))
    assert (same.p_value, same.reason) == (None, "zero variance: all 160 users of both arms have the same ratio")
    clicks = PairSums.of(np.random.default_rng(3).binomial(1, 0.6, 80) * shown, shown)
    for treatment in (third, none):
        found = welch_test(ratio_difference(clicks, treatment, relative=False))
        assert found.p_value is not None
        assert found.p_value < 0.01
    apart = welch_test(ratio_difference(third, none, relative=False))
    assert apart.p_value is not None
    assert apart.p_value < 1e-6


def test_a_control_without_clicks_has_no_relative_lift() -> None:
    control = PairSums.of(np.array([1.0, -1.0]), np.array([3.0, 4.0]))
    found = welch_test(ratio_difference(control, SOME, relative=True))
    assert found.reason == "control is 0.0: a relative difference needs a control above 0"


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=30))
def test_the_largest_user_holds_no_more_than_the_bound(shown: list[int]) -> None:
    bound = largest_share(PairSums.of(np.zeros(len(shown)), np.array(shown)))
    assert bound is not None
    assert max(shown) / sum(shown) <= bound + 1e-9


def test_the_bound_is_the_share_itself_where_all_others_are_alike() -> None:
    shown = np.array([5.0] * 400 + [600.0])
    assert largest_share(PairSums.of(np.zeros(401), shown)) == pytest.approx(600 / 2_600)
    assert largest_share(PairSums.of(np.zeros(400), shown[:400])) == pytest.approx(1 / 400)
    assert largest_share(PairSums(0, 0, 0, 0, 0, 0)) is None
    assert not one_user_decides(PairSums.of(np.zeros(2), np.array([3.0, 9.0])))


def test_a_ratio_that_one_user_makes_is_undefined_and_says_so() -> None:
    rng = np.random.default_rng(13)
    clicks, shown = rng.binomial(5, 0.3, 400).astype(float), np.full(400, 5.0)
    control = PairSums.of(clicks, shown)
    for lists, defined in ((400.0, True), (600.0, False), (5_000.0, False)):
        treatment = PairSums.of(np.append(clicks, lists), np.append(shown, lists))
        found = ratio_difference(control, treatment, relative=False)
        assert (found.value is not None) == defined
        assert lists / (2_000 + lists) <= LARGEST_SHARE or "treatment: one user may hold" in (found.reason or "")
