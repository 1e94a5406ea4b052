"""Results from sums: the numbers of the parts, put together; and what is undefined says why."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.bandit import ADAPTIVE_WARNING
from experiments.design import Design, expected_weights
from experiments.plan import needed_users
from experiments.report import reading_due, report, value_of
from experiments.statistics.cuped import cuped_ratio_difference
from experiments.statistics.sums import PairSums, RatioSums
from experiments.statistics.welch import welch_test
from experiments.user_metrics import METRICS
from experiments.user_totals import UserTotals, VariantSums, add_sums, variant_sums

DESIGN = Design(
    variants=("control", "new"),
    periods=((0, (0.5, 0.5)),),
    primary="click_through",
    metrics=tuple(METRICS),
    guardrails=(("conversion", 0.1),),
    planned_effect=0.05,
    minimum_days=0,
)


def users(variant: str, n: int, rate: float, seed: int) -> list[UserTotals]:
    rng = np.random.default_rng(seed)
    lists, before = rng.poisson(4, n) + 1, rng.poisson(5, n)
    clicked = rng.binomial(lists, rate)
    return [
        UserTotals(
            variant, 0, 0, int(b), True, lists=int(m), clicked=int(c), engaged=int(c) // 2, precision=2_500 * int(c),
            events=int(c + b // 2), conversions=int(c > 2), rated=int(c), ratings=4_000 * int(c) - 500 * int(c > 1),
            sessions=1 + int(c > 1),
        )
        for m, b, c in zip(lists, before, clicked, strict=True)
    ]  # fmt: skip


def sums_of(*people: UserTotals) -> dict[str, VariantSums]:
    found = variant_sums(people)
    return {name: add_sums([found.get(name, {})]) for name in DESIGN.variants}


CONTROL, NEW = users("control", 600, 0.2, 1), users("new", 620, 0.3, 2)
SUMS = sums_of(*CONTROL, *NEW)


def test_a_better_variant_is_shipped_with_its_numbers() -> None:
    found = report(DESIGN, SUMS, days=2.0)
    assert (found.decision.action, found.decision.winner) == ("ship", "new")
    assert [arm.users for arm in found.arms] == [600, 620]
    value = found.arms[0].metrics["click_through"]
    assert value.value == sum(u.clicked for u in CONTROL) / sum(u.lists for u in CONTROL)
    assert value.interval is not None
    assert value.interval[0] < value.value < value.interval[1]
    assert found.arms[0].metrics["mean_rating"].value == pytest.approx(
        sum(u.ratings for u in CONTROL) / 1000 / sum(u.rated for u in CONTROL)
    )
    assert found.plan.users is not None
    assert found.plan.days_left == (0 if found.plan.users <= 600 else 1)
    assert found.plan.power is not None
    assert found.plan.power > 0.5
    assert len(found.comparisons) == len(METRICS)
    assert all(one.adjusted_p_value is not None for one in found.comparisons)


def test_guardrails_have_the_state_that_decides() -> None:
    def states(margin: float, sums: dict[str, VariantSums] = SUMS) -> dict[tuple[str, str], str]:
        design = replace(DESIGN, guardrails=(("conversion", margin), ("mean_rating", 0.0)))
        found = report(design, sums, days=2.0)
        for one in found.guardrails:
            same = next(c for c in found.comparisons if (c.metric, c.variant) == (one.metric, one.variant))
            assert one.absolute == same.decides
        return {(one.metric, one.variant): one.state for one in found.guardrails}

    # Users of the better variant convert more, and rate a little lower.
    assert states(0.0) == {("conversion", "new"): "safe", ("mean_rating", "new"): "broken"}
    few = sums_of(*CONTROL[:40], *NEW[:40])
    assert states(0.001, few)["conversion", "new"] == "unproven"
    assert states(0.9, few)["conversion", "new"] == "safe"
    worse = sums_of(*(replace(u, variant="new") for u in CONTROL), *(replace(u, variant="control") for u in NEW))
    assert states(0.0, worse)["conversion", "new"] == "broken"
    nobody = sums_of(*CONTROL)
    assert states(0.0, nobody)["conversion", "new"] == "undefined"
    broken = report(replace(DESIGN, guardrails=(("conversion", 0.0),)), worse, 2.0)
    assert (broken.decision.action, broken.guardrails[0].state) == ("stop", "broken")


def test_the_two_tests_change_places_with_the_method() -> None:
    looked, fixed = (report(replace(DESIGN, always_valid=valid), SUMS, 2.0).comparisons for valid in (True, False))
    for one, other in zip(looked, fixed, strict=True):
        assert (one.decides, one.other) == (other.other, other.decides)
        assert (one.decides.method, one.other.method) == ("always_valid", "welch")


def test_every_metric_is_adjusted_by_what_users_did_before() -> None:
    found = {one.metric: one for one in report(replace(DESIGN, always_valid=False), SUMS, 2.0).comparisons}
    assert set(found) == set(METRICS)
    for one in found.values():
        assert one.cuped.correlation is not None
        plain_error, error = one.decides.standard_error, one.cuped.absolute.standard_error
        assert plain_error is not None
        assert error is not None
        assert (error / plain_error) ** 2 == pytest.approx(1 - one.cuped.correlation**2, rel=0.05)
    assert (found["events_per_user"].cuped.correlation or 0.0) > 0.5


def test_a_ratios_adjustment_is_that_of_its_users_in_the_metrics_unit() -> None:
    """`mean_rating` is kept in thousandths."""
    metric, (control, new) = METRICS["mean_rating"], (SUMS["control"], SUMS["new"])
    arms = [
        RatioSums.of(*(np.array([getattr(u, name) for u in people], float) / scale for name, scale in columns))
        for people in (CONTROL, NEW)
        for columns in [(("ratings", 1000), ("rated", 1), ("before", 1))]
    ]
    wanted, found = cuped_ratio_difference(*arms, relative=False), metric.adjusted(control, new, relative=False)
    assert found.difference.value == pytest.approx(wanted.difference.value)
    assert found.difference.variance == pytest.approx(wanted.difference.variance)
    assert found.theta == pytest.approx(wanted.theta)


def test_the_interval_of_a_mean_is_students() -> None:
    metric = METRICS["events_per_user"]
    value = value_of(metric, SUMS["control"])
    data = np.array([u.events for u in CONTROL], float)
    assert value.value == pytest.approx(data.mean())
    assert value.interval is not None
    assert value.interval[1] - data.mean() == pytest.approx(1.9639 * data.std(ddof=1) / np.sqrt(600), rel=1e-4)
    difference = metric.difference(SUMS["control"], SUMS["new"], relative=False)
    before = [np.array([getattr(u, name) for u in CONTROL], float) for name in ("events", "before")]
    assert metric.sums(SUMS["control"]) == PairSums.of(*before)
    assert welch_test(difference).estimate == pytest.approx(np.mean([u.events for u in NEW]) - data.mean())


@pytest.mark.parametrize(
    ("people", "words"),
    [
        ((), "no users"),
        (CONTROL, "no users"),
        ((CONTROL[0], NEW[0]), "one user, which has no variance"),
        ((*[replace(CONTROL[0])] * 200, *[replace(CONTROL[0], variant="new")] * 200), "zero variance"),
    ],
)  # fmt: skip
def test_what_is_undefined_is_none_with_a_reason(people: tuple[UserTotals, ...], words: str) -> None:
    found = report(DESIGN, sums_of(*people), days=1.0)
    assert found.decision.action in ("keep_running", "unhealthy")
    assert found.decision.winner is None
    assert len(found.comparisons) == len(METRICS)
    for one in found.comparisons:
        assert one.decides.estimate is None
        assert one.decides.p_value is None
        assert words in (one.decides.reason or "") or "denominators" in (one.decides.reason or "")
        assert one.adjusted_p_value is None
    values = [value for arm in found.arms for value in arm.metrics.values()]
    assert len(values) == 2 * len(METRICS)
    assert all(value.interval is not None or value.reason for value in values)
    assert found.plan.power is None or found.plan.reason is None


def test_no_winner_while_the_sample_ratio_is_off() -> None:
    found = report(DESIGN, sums_of(*CONTROL, *NEW[:400]), days=30.0)
    assert (found.decision.action, found.decision.winner) == ("unhealthy", None)
    assert "sample ratio" in found.decision.reason


def test_users_of_two_variants_keep_the_sample_ratio_whole_and_are_told_of() -> None:
    people = [replace(user, mixed=True) for user in CONTROL[:50]]
    found = report(DESIGN, sums_of(*people, *CONTROL[50:], *NEW), days=30.0)
    assert found.sample_ratio.observed == (600, 620)
    assert found.arms[0].users == 550
    assert any("50 users saw more than one variant" in text for text in found.warnings)


def test_partly_simulated_traffic_is_told_of() -> None:
    people = [replace(user, simulated=False) for user in CONTROL]
    assert any(
        "620 of 1220 users are simulated" in text for text in report(DESIGN, sums_of(*people, *NEW), 1.0).warnings
    )


def test_a_bandits_weights_count_for_as_long_as_they_held_and_it_warns() -> None:
    design = replace(DESIGN, periods=((0, (0.5, 0.5)), (100, (0.2, 0.8))), bandit=True)
    assert expected_weights(design, 300) == pytest.approx([(50 + 40) / 300, (50 + 160) / 300])
    assert expected_weights(design, 60) == pytest.approx([0.5, 0.5])
    assert expected_weights(design, 0) == [0.2, 0.8]
    assert ADAPTIVE_WARNING in report(design, SUMS, 1.0).warnings


def test_an_arm_without_weight_is_left_out_everywhere() -> None:
    """A half, a half and nothing: the plan, the sample ratio and the decision are those of the two live arms."""
    three = replace(DESIGN, variants=("control", "new", "paused"), periods=((0, (0.5, 0.5, 0.0)),), bandit=False)
    two, found = report(DESIGN, SUMS, 2.0), report(three, {**SUMS, "paused": add_sums([])}, 2.0)
    assert (found.decision, found.plan) == (two.decision, two.plan)
    assert (found.decision.action, found.decision.winner) == ("ship", "new")
    assert (found.comparisons, found.guardrails) == (two.comparisons, two.guardrails)
    assert found.sample_ratio.always_valid_p_value == two.sample_ratio.always_valid_p_value
    first = replace(three, variants=("control", "paused", "new"), periods=((0, (0.5, 0.0, 0.5)),))
    assert report(first, {**SUMS, "paused": add_sums([])}, 2.0).decision == two.decision


def test_an_arm_that_a_bandit_took_the_weight_from_still_counts() -> None:
    design = replace(DESIGN, periods=((0, (0.5, 0.5)), (1220, (1.0, 0.0))), bandit=True)
    assert report(design, SUMS, 2.0).decision.winner == "new"


@pytest.mark.parametrize("weights", [(0.0, 1.0), (1.0, 0.0)])
def test_without_two_live_arms_there_is_nothing_to_decide(weights: tuple[float, float]) -> None:
    design = replace(DESIGN, periods=((0, weights),))
    running, ended = (report(design, sums_of(*CONTROL), days) for days in (1.0, 30.0))
    assert (running.decision.action, ended.decision.action) == ("keep_running", "stop")
    assert "nothing to compare" in running.decision.reason
    assert running.comparisons == []


def test_a_fixed_sample_has_always_valid_looks_until_its_plan_is_reached() -> None:
    design = replace(DESIGN, always_valid=False, planned_users=5_000, guardrails=(("conversion", 0.0),))
    worse = sums_of(*(replace(u, variant="new") for u in CONTROL), *(replace(u, variant="control") for u in NEW))
    assert report(design, worse, 2.0).decision.action == "stop"
    # By Welch the difference is one, and by the always-valid test it is not yet.
    slightly = sums_of(*users("control", 600, 0.3, 3), *users("new", 600, 0.27, 4))
    found = report(replace(design, guardrails=()), slightly, 2.0)
    (primary,) = found.primary
    assert primary.adjusted_p_value is not None
    assert primary.adjusted_p_value < 0.05
    assert found.decision.action == "keep_running"
    assert reading_due(replace(design, planned_users=600), SUMS, 7.0)
    assert not reading_due(replace(design, planned_users=601), SUMS, 7.0)
    assert not reading_due(replace(design, planned_users=600, minimum_days=7.0), SUMS, 6.9)


def test_the_end_of_the_plan_is_never_made_up_from_the_present_results() -> None:
    """With an effect and no number of users the end moved at every look."""
    design = replace(DESIGN, always_valid=False, planned_effect=0.3)
    assert needed_users(design, SUMS) is not None
    found = report(design, SUMS, 8.0)
    assert found.plan.users == needed_users(design, SUMS)
    assert (found.plan.users or 0) < 600
    assert found.decision.action == "keep_running"
    fixed = report(replace(design, sample_users=500), SUMS, 8.0)
    assert (fixed.plan.users, fixed.decision.action) == (500, "ship")
    assert needed_users(design, sums_of(*CONTROL[:99], *NEW)) is None
    assert needed_users(replace(design, planned_effect=None), SUMS) is None


@pytest.mark.parametrize("always_valid", [True, False])
def test_intervals_agree_with_the_p_values_beside_them(always_valid: bool) -> None:
    """Of three treatments with differences of every size, over many samples."""
    names = ("control", "a", "b", "c")
    design = replace(
        DESIGN, variants=names, periods=((0, (0.25,) * 4),), always_valid=always_valid, planned_users=300, guardrails=()
    )
    agreed = set()
    for seed in range(30):
        people = [
            user for place, name in enumerate(names) for user in users(name, 300, 0.2 + 0.02 * place, 10 * seed + place)
        ]
        found = variant_sums(people)
        results = report(design, {name: add_sums([found[name]]) for name in names}, 8.0)
        pairs = [(one.adjusted_p_value, one.absolute.interval) for one in results.primary]
        assert [p for p, _ in pairs] == list(results.decision.adjusted_p_values)
        pairs += [(one.adjusted_p_value, one.adjusted.absolute) for one in results.comparisons]
        pairs += [(one.decides.p_value, one.decides.interval) for one in results.comparisons]
        for p, interval in pairs:
            assert p is not None
            assert interval is not None
            assert (p < 0.05) == (interval[0] > 0 or interval[1] < 0)
            agreed.add(p < 0.05)
    assert agreed == {True, False}


def test_the_reason_gives_the_interval_of_its_step() -> None:
    design = replace(DESIGN, variants=("control", "new", "third"), periods=((0, (1 / 3,) * 3),), guardrails=())
    third = variant_sums(users("third", 600, 0.2, 8))["third"]
    found = report(design, {**SUMS, "third": add_sums([third])}, 8.0)
    assert found.decision.winner == "new"
    assert "97.5% interval" in found.decision.reason


def test_a_robot_neither_ships_nor_stops_a_variant() -> None:
    """400 alike users in each arm, and one more who takes up all of 5,000 lists: it was shipped, p below .0001."""
    alike = [replace(user, lists=5, clicked=n % 3, engaged=0) for n, user in enumerate(users("control", 400, 0.2, 5))]
    others = [replace(user, variant="new") for user in alike]
    for robots, worse in (([("new", 5_000)], False), ([("control", 5_000)], True)):
        people = [replace(alike[0], variant=name, lists=n, clicked=n, before=0) for name, n in robots]
        for always_valid in (True, False):
            design = replace(DESIGN, always_valid=always_valid, planned_users=300, guardrails=(("engagement", 0.0),))
            found = report(design, sums_of(*alike, *others, *people), 10.0)
            assert found.decision.winner is None
            assert not any(word in found.decision.reason for word in ("is worse", "breaks"))
            assert any("one user may hold 71% of the lists" in text for text in found.warnings)
            assert found.primary[0].adjusted_p_value is None
            assert worse == ("control: one user" in found.decision.reason)
    # What it may count of the robot's lists is too little to decide anything, and is told of where it is much.
    counted = replace(others[0], lists=300, clicked=300)
    told = report(replace(DESIGN, guardrails=()), sums_of(*alike, *others, counted), 10.0)
    assert told.decision.action == "keep_running"
    assert told.primary[0].adjusted_p_value is not None
    assert "new: one user may hold 13% of the lists; beyond 20% none is read" in told.warnings


@pytest.mark.parametrize("name", ["new", "control"])
def test_a_robots_events_neither_ship_nor_stop_a_variant(name: str) -> None:
    """A mean over users bears one of them: the error grows with the difference that it makes."""
    alike = [replace(user, events=n % 5) for n, user in enumerate(users("control", 400, 0.2, 5))]
    others = [replace(user, variant="new") for user in alike]
    robot = replace(alike[0], variant=name, events=50_000, before=0)
    for always_valid in (True, False):
        design = replace(
            DESIGN, primary="events_per_user", always_valid=always_valid, planned_users=300,
            guardrails=(("events_per_user", 0.0), ("session_return", 0.0)),
        )  # fmt: skip
        found = report(design, sums_of(*alike, *others, robot), 10.0)
        assert found.decision.winner is None
        assert not any(word in found.decision.reason for word in ("is worse", "breaks"))
        assert (found.primary[0].adjusted_p_value or 0.0) > 0.2
