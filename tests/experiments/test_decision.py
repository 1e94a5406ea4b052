from typing import Any

import pytest

from experiments.bandit import ADAPTIVE_WARNING
from experiments.decision import Decision, DecisionRule, Guardrail, Treatment, decide
from experiments.statistics.difference import Comparison
from experiments.statistics.sample_ratio import sample_ratio_test

RULE = DecisionRule()


def comparison(estimate: float | None, error: float = 0.01, p: float | None = None, **other: Any) -> Comparison:
    if estimate is None:
        return Comparison(
            "always_valid", 0.05, True, reason="control: zero variance, all 500 users have the same value"
        )
    chosen = p if p is not None else (0.001 if abs(estimate) > 2 * error else 0.5)
    fields: dict[str, Any] = {"method": "always_valid", "alpha": 0.05, "relative": True} | other
    interval = (estimate - 2 * error, estimate + 2 * error)
    return Comparison(**fields, estimate=estimate, standard_error=error, interval=interval, p_value=chosen)


def outcome(
    *primaries: Comparison,
    rule: DecisionRule = RULE,
    days: float = 10.0,
    users: int = 1000,
    guardrails: tuple[Guardrail, ...] = (),
    observed: list[int] | None = None,
    **other: Any,
) -> Decision:
    treatments = [Treatment(f"t{place}", users, found, guardrails) for place, found in enumerate(primaries)]
    counts = observed or [users] * (len(primaries) + 1)
    return decide(rule, days, users, treatments, sample_ratio_test(counts, [1.0] * len(counts)), **other)


def test_ships_what_is_better() -> None:
    found = outcome(comparison(0.08))
    assert (found.action, found.winner) == ("ship", "t0")
    assert found.reason == "t0 is better: +8.0% relative, 95% interval +6.0% to +10.0%, p = 0.0010"


def test_ships_the_best_of_several() -> None:
    found = outcome(comparison(0.05), comparison(0.09), comparison(-0.2))
    assert (found.action, found.winner) == ("ship", "t1")
    assert found.adjusted_p_values == pytest.approx((0.003, 0.003, 0.003))


def test_lower_may_be_better() -> None:
    rule = DecisionRule(higher_is_better=False)
    assert outcome(comparison(-0.08), rule=rule).winner == "t0"
    assert outcome(comparison(0.08), rule=rule).action == "stop"


def test_no_winner_while_the_sample_ratio_is_off() -> None:
    found = outcome(comparison(0.08), observed=[1000, 1300])
    assert (found.action, found.winner) == ("unhealthy", None)
    assert "1000 users where 1150 are expected, 1300 users where 1150 are expected" in found.reason
    assert "p < 0.0001" in found.reason


def test_an_arm_that_lost_its_users_is_unhealthy() -> None:
    treatments = [Treatment("t0", 0, comparison(None))]
    found = decide(RULE, 10.0, 1000, treatments, sample_ratio_test([1000, 0], [0.5, 0.5]))
    assert found.action == "unhealthy"


def test_a_win_waits_for_the_minimum_duration_and_harm_does_not() -> None:
    assert outcome(comparison(0.08), days=2.0).action == "keep_running"
    assert outcome(comparison(0.08), days=2.0).reason == "2 of at least 7 days"
    found = outcome(comparison(-0.08), days=2.0)
    assert (found.action, found.winner) == ("stop", None)
    assert found.reason.startswith("t0 is worse: -8.0% relative")


def test_nothing_is_read_below_the_minimum_sample() -> None:
    found = outcome(comparison(-0.08), users=99)
    assert (found.action, found.reason) == ("keep_running", "the smallest arm has 99 of at least 100 users")
    ended = outcome(comparison(0.08), users=99, days=30.0)
    assert ended.action == "stop"
    assert "nothing can be concluded" in ended.reason


def test_several_treatments_are_corrected() -> None:
    close = comparison(0.03, p=0.03)
    assert outcome(close).action == "ship"
    assert outcome(close, comparison(0.0)).action == "keep_running"


def test_one_harmful_treatment_does_not_stop_the_others() -> None:
    assert outcome(comparison(-0.08), comparison(0.0)).action == "keep_running"
    assert outcome(comparison(-0.08), comparison(0.08)).winner == "t1"


def test_a_fixed_sample_test_is_not_read_early() -> None:
    once = comparison(0.08, method="welch")
    planned = DecisionRule(planned_users=2000)
    found = outcome(once, rule=planned)
    assert found.action == "keep_running"
    assert found.reason.endswith("the smallest arm has 1000 users, 2000 are planned")
    assert outcome(comparison(-0.08, method="welch"), rule=planned).action == "keep_running"
    assert outcome(once, rule=planned, users=2000).action == "ship"
    assert outcome(once).action == "keep_running"
    assert outcome(once, days=28.0).action == "ship"
    mixed = (Guardrail("latency", comparison(-0.2, method="welch")),)
    assert outcome(comparison(0.08), guardrails=mixed).action == "keep_running"


def test_the_end_without_a_winner() -> None:
    found = outcome(comparison(0.005), days=28.0)
    assert found.action == "stop"
    assert found.reason == (
        "28 days are over and nothing can be shipped: t0: +0.5% relative, 95% interval -1.5% to +2.5%, p = 0.5000"
    )
    planned = outcome(comparison(0.005), rule=DecisionRule(planned_users=900))
    assert planned.action == "stop"
    assert planned.reason.startswith("the planned 900 users are there")


def test_otherwise_it_keeps_running() -> None:
    found = outcome(comparison(0.005))
    assert found.action == "keep_running"
    assert found.reason.startswith("no decision yet: t0: +0.5% relative")


def test_a_broken_guardrail_stops_a_better_treatment() -> None:
    worse = (Guardrail("rating", comparison(-0.05)), Guardrail("returns", comparison(0.0)))
    found = outcome(comparison(0.08), guardrails=worse)
    assert found.action == "stop"
    assert found.reason.startswith("t0 breaks the guardrail rating: -5.0% relative")
    slower = (Guardrail("latency", comparison(0.05), higher_is_better=False),)
    assert outcome(comparison(0.08), guardrails=slower).action == "stop"


@pytest.mark.parametrize(
    ("estimate", "margin", "state"),
    [
        (-0.05, 0.0, "broken"),
        (-0.01, 0.0, "safe"),
        (-0.05, 0.1, "safe"),
        (-0.05, 0.06, "unproven"),
        (-0.05, 0.02, "broken"),
    ],
)
def test_state_of_a_guardrail(estimate: float, margin: float, state: str) -> None:
    assert Guardrail("rating", comparison(estimate), margin=margin).state == state
    turned = Guardrail("latency", comparison(-estimate), higher_is_better=False, margin=margin)
    assert turned.state == state


def test_a_guardrail_that_is_not_known_to_be_safe_delays_the_winner() -> None:
    unproven = (Guardrail("rating", comparison(-0.01), margin=0.02),)
    found = outcome(comparison(0.08), guardrails=unproven)
    assert (found.action, found.winner) == ("keep_running", None)
    assert "t0 is better, but the guardrail rating is unproven" in found.reason
    assert "margin 2.0%" in found.reason
    undefined = outcome(comparison(0.08), guardrails=(Guardrail("rating", comparison(None)),))
    assert undefined.action == "keep_running"
    assert "t0: guardrail rating has no result, control: zero variance" in undefined.warnings[0]


def test_an_undefined_result_decides_nothing_and_says_why() -> None:
    found = outcome(comparison(None))
    assert (found.action, found.adjusted_p_values) == ("keep_running", (None,))
    assert "undefined (control: zero variance, all 500 users have the same value)" in found.reason
    assert outcome(comparison(None), days=28.0).action == "stop"


def test_warnings_are_passed_on() -> None:
    assert outcome(comparison(0.08), warnings=[ADAPTIVE_WARNING]).warnings == (ADAPTIVE_WARNING,)


def test_impossible_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="sample_ratio_alpha must be between 0 and 1"):
        DecisionRule(sample_ratio_alpha=0.0)
    with pytest.raises(ValueError, match="maximum_days"):
        DecisionRule(minimum_days=10, maximum_days=5)
    with pytest.raises(ValueError, match="must not be negative"):
        DecisionRule(minimum_users=-1)
    with pytest.raises(ValueError, match="at least one"):
        decide(RULE, 1.0, 10, [], sample_ratio_test([10, 10], [0.5, 0.5]))


def test_health_is_decided_by_the_test_that_may_be_looked_at_any_time() -> None:
    """A chi-square below .001 at one of many looks is no alarm."""
    ratio = sample_ratio_test([1000, 1155], [0.5, 0.5])
    assert ratio.p_value is not None
    assert ratio.p_value < 0.001
    assert decide(RULE, 10.0, 1000, [Treatment("t0", 1155, comparison(0.08))], ratio).action == "ship"


def test_a_fixed_sample_waits_for_the_planned_users_and_the_least_days() -> None:
    """It was read at every look from the planned users on, until the least days were over."""
    rule, worse = DecisionRule(planned_users=900), comparison(-0.08, method="welch")
    found = outcome(worse, rule=rule, days=2.0)
    assert (found.action, found.reason) == (
        "keep_running", "a fixed-sample test is read once, at its end: 2 of at least 7 days",
    )  # fmt: skip
    assert outcome(worse, rule=rule, days=7.0).action == "stop"
    assert not DecisionRule(planned_users=50).due(days=8.0, fewest=60)
    assert DecisionRule(planned_users=50).due(days=28.0, fewest=3)


def test_before_its_end_harm_is_looked_for_by_the_always_valid_comparison() -> None:
    def looked(primary: float, guardrail: float = 0.0) -> Decision:
        guarded = Guardrail("rating", comparison(-0.05, method="welch"), safety=comparison(guardrail))
        one = Treatment("t0", 1000, comparison(-0.08, method="welch"), (guarded,), safety=comparison(primary))
        return decide(DecisionRule(planned_users=5000), 2.0, 1000, [one], sample_ratio_test([1000, 1000], [1, 1]))

    assert looked(-0.01).action == "keep_running"
    assert looked(-0.06).action == "stop"
    assert looked(-0.06).reason.startswith("t0 is worse: -6.0% relative, 95% interval -8.0% to -4.0%, p = 0.0010")
    assert looked(-0.01, guardrail=-0.07).reason.startswith("t0 breaks the guardrail rating: -7.0% relative")
