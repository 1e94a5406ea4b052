from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from experiments.statistics.difference import mean_difference
from experiments.statistics.power import (
    DaysLeft,
    PlannedTest,
    Sizes,
    days_left,
    minimum_detectable_effect,
    power_at,
    sample_size,
    sample_size_proportion,
)
from experiments.statistics.sequential import always_valid_test
from experiments.statistics.welch import welch_test
from tests.experiments.simulated_arms import arms


def test_published_numbers(oracles: dict[str, Any]) -> None:
    continuous, binary = oracles["sample_size"]
    test = PlannedTest(alpha=continuous["alpha"])
    found = sample_size(
        continuous["minimum_detectable_effect"], continuous["variance"], power=continuous["power"], test=test
    )
    assert found.total == pytest.approx(continuous["expect_total"], rel=continuous["relative_tolerance"])
    found = sample_size_proportion(
        binary["baseline"], binary["minimum_detectable_effect"], power=binary["power"], test=test
    )
    assert found.total == pytest.approx(binary["expect_total"], rel=binary["relative_tolerance"])


def test_a_textbook_size() -> None:
    # Cohen 1988, table 2.4.1: d = 0.5, two-sided .05, power .80 needs 64 in each arm.
    assert abs(sample_size(0.5, 1.0).control - 64) <= 1


@pytest.mark.parametrize(("power", "ratio"), [(0.8, 1.0), (0.9, 1.0), (0.8, 0.25)])
def test_power_at_the_planned_size(power: float, ratio: float) -> None:
    sizes = sample_size_proportion(0.2, 0.06, power=power, treatment_per_control=ratio)
    control = arms(lambda shape: np.random.default_rng([91, shape[0]]).random(shape) < 0.2, 2_000, sizes.control)
    treatment = arms(lambda shape: np.random.default_rng([92, shape[0]]).random(shape) < 0.26, 2_000, sizes.treatment)
    p = [
        welch_test(mean_difference(a, b, relative=False)).p_value or 0.0
        for a, b in zip(control, treatment, strict=True)
    ]
    found = np.mean(np.array(p) < 0.05)
    print(f"power planned {power}, ratio {ratio}: {found:.4f} with {sizes}")
    assert found == pytest.approx(power, abs=0.03)


def test_power_of_small_samples() -> None:
    # t instead of the normal: at 12 in an arm the normal formula promises too much.
    sizes = sample_size(1.2, 1.0, power=0.8)
    rng = np.random.default_rng(93)
    control = arms(lambda shape: rng.normal(0.0, 1.0, shape), 4_000, sizes.control)
    treatment = arms(lambda shape: rng.normal(1.2, 1.0, shape), 4_000, sizes.treatment)
    p = [
        welch_test(mean_difference(a, b, relative=False)).p_value or 0.0
        for a, b in zip(control, treatment, strict=True)
    ]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.8, abs=0.03)


def test_power_of_the_always_valid_test_at_its_planned_end() -> None:
    test = PlannedTest(tuning_n=2000)
    sizes = sample_size(0.25, 1.0, power=0.8, test=test)
    assert sizes.total > 1.5 * sample_size(0.25, 1.0, power=0.8).total
    rng = np.random.default_rng(94)
    control = arms(lambda shape: rng.normal(0.0, 1.0, shape), 4_000, sizes.control)
    treatment = arms(lambda shape: rng.normal(0.25, 1.0, shape), 4_000, sizes.treatment)
    p = [
        always_valid_test(mean_difference(a, b, relative=False), 0.05, 2000).p_value or 0.0
        for a, b in zip(control, treatment, strict=True)
    ]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.8, abs=0.03)


def test_more_treatments_need_more_users() -> None:
    alone, among_three = (sample_size(0.1, 1.0, test=PlannedTest(comparisons=k)).control for k in (1, 3))
    assert among_three == sample_size(0.1, 1.0, test=PlannedTest(alpha=0.05 / 3)).control > alone


plans = given(
    st.floats(0.01, 100), st.floats(0.05, 2), st.floats(0.2, 0.99), st.floats(0.1, 10), st.sampled_from([None, 5000.0])
)


def slack(sizes: Sizes) -> float:
    """Among a handful of users one more in the larger arm may lower Welch's degrees of freedom, and so the power."""
    return 1e-6 + 0.01 / min(sizes.control, sizes.treatment) ** 2


@settings(deadline=None)
@plans
def test_size_power_and_detectable_effect_invert_each_other(
    variance: float, steps: float, power: float, ratio: float, tuning_n: float | None
) -> None:
    test = PlannedTest(tuning_n=tuning_n)
    effect = steps * variance**0.5
    sizes = sample_size(effect, variance, power=power, test=test, treatment_per_control=ratio)
    reached = power_at(effect, variance, max(2, sizes.control), max(2, sizes.treatment), test=test)
    assert reached >= power - slack(sizes)
    smallest = minimum_detectable_effect(
        variance, max(2, sizes.control), max(2, sizes.treatment), power=power, test=test
    )
    assert smallest <= effect * (1 + slack(sizes))
    assert power_at(smallest, variance, max(2, sizes.control), max(2, sizes.treatment), test=test) == pytest.approx(
        power, abs=1e-6
    )


@settings(deadline=None)
@plans
def test_one_user_fewer_is_too_few(
    variance: float, steps: float, power: float, ratio: float, tuning_n: float | None
) -> None:
    test = PlannedTest(tuning_n=tuning_n)
    effect = steps * variance**0.5
    sizes = sample_size(effect, variance, power=power, test=test, treatment_per_control=ratio)
    fewer = sizes.control - 1, int((sizes.control - 1) * ratio)
    assume(min(fewer) >= 2)
    assert power_at(effect, variance, *fewer, test=test) < power + slack(sizes)


def test_days_left() -> None:
    assert days_left(1000, 400, 100.0) == DaysLeft(6)
    assert days_left(1000, 401, 100.0) == DaysLeft(6)
    assert days_left(1000, 1000, 0.0) == DaysLeft(0)
    assert days_left(1000, 400, 0.0) == DaysLeft(None, "no new users arrive, and 600 are missing")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_size(0.0, 1.0), "effect must be a number other than 0"),
        (lambda: sample_size(float("nan"), 1.0), "effect must be a number other than 0"),
        (lambda: sample_size(0.1, 0.0), "control_variance must be above 0"),
        (lambda: sample_size(0.1, 1.0, -1.0), "treatment_variance must be above 0"),
        (lambda: sample_size(0.1, 1.0, power=1.0), "power must be between alpha and 1"),
        (lambda: sample_size(0.1, 1.0, power=0.01), "power must be between alpha and 1"),
        (lambda: sample_size(1e-12, 1.0), "too small against the variance"),
        (lambda: sample_size(0.1, 1.0, treatment_per_control=0.0), "treatment_per_control must be above 0"),
        (lambda: sample_size_proportion(0.95, 0.1), r"baseline \+ effect must be between 0 and 1"),
        (lambda: power_at(0.1, 1.0, 1, 10), "n_control must be at least 2"),
        (lambda: PlannedTest(comparisons=0), "comparisons must be at least 1"),
        (lambda: days_left(5, 1, float("nan")), "users_per_day must be a number from 0"),
    ],
)
def test_impossible_plans_are_refused_by_name(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
