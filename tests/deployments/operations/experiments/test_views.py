"""What the results endpoint answers, from a report."""

import orjson

from deployments.operations.experiments.results import design_of
from deployments.operations.experiments.views import results_view, summary
from experiments.report import report
from experiments.user_totals import UserTotals, add_sums, variant_sums
from features.experiments.experiment import Definition, Experiment


def users(variant: str, clicked: int, converted: int) -> list[UserTotals]:
    """A hundred users of two lists each; the first ones clicked or converted."""
    return [
        UserTotals(
            variant, 0, 0, before=n % 7, simulated=False, lists=2, clicked=int(n < clicked),
            conversions=int(n < converted),
        )
        for n in range(100)
    ]  # fmt: skip


def test_before_the_first_experiment_the_brief_says_so() -> None:
    found = summary(None, None)
    assert (found.experiment, found.winner, found.recommendation) == (None, None, "none")
    assert found.reason == "no experiment has been started yet"


def test_guardrail_states_come_with_the_results() -> None:
    variants = [{"name": name, "weight": 0.5, "slot": "champion"} for name in ("control", "new")]
    guardrails = [{"metric": "conversion"}, {"metric": "mean_rating", "margin": 0.5}]
    experiment = Experiment.model_validate(
        {
            "id": "e", "hypothesis": "h", "variants": variants, "guardrails": guardrails, "seed": "e", "created_ms": 0,
            "status": "running", "started_ms": 1, "method": "welch",
        }
    )  # fmt: skip
    people = [*users("control", 30, 60), *users("new", 40, 20)]
    sums = {name: add_sums([found]) for name, found in variant_sums(people).items()}
    answer = orjson.loads(orjson.dumps(results_view(experiment, report(design_of(experiment), sums, 1.0))))
    conversion, rating = answer["guardrails"]
    assert (conversion["metric"], conversion["variant"], conversion["state"]) == ("conversion", "new", "broken")
    assert (conversion["margin"], round(conversion["absolute"]["estimate"], 6)) == (0.0, -0.4)
    assert (rating["metric"], rating["margin"], rating["state"]) == ("mean_rating", 0.5, "undefined")
    assert "denominators sum to 0" in rating["absolute"]["reason"]
    found = {one["metric"]: one for one in answer["comparisons"]}
    assert found["conversion"]["absolute"] == conversion["absolute"]
    assert found["click_through"]["cuped"]["absolute"]["estimate"] is not None


def test_without_guardrails_the_list_is_empty() -> None:
    variants = [{"name": name, "weight": 0.5, "slot": "champion"} for name in ("control", "new")]
    given = {"id": "e", "hypothesis": "h", "variants": variants, "seed": "e", "created_ms": 0}
    experiment = Experiment.model_validate(given)
    sums = {name: add_sums([]) for name in ("control", "new")}
    assert results_view(experiment, report(design_of(experiment), sums, 0.0))["guardrails"] == []


def test_two_live_arms_decide_beside_one_without_weight() -> None:
    given = {
        "hypothesis": "a test of the experiment itself",
        "variants": [
            {"name": "control", "slot": "champion", "weight": 0.5},
            {"name": "treatment", "slot": "challenger", "weight": 0.5},
            {"name": "paused", "slot": "champion", "weight": 0.0},
        ],
        "minimum_days": 0,
        "minimum_users": 100,
    }
    definition = Definition.model_validate(given)
    experiment = Experiment(**{**definition.model_dump(), "id": "e", "seed": "e"}, created_ms=0)
    sums = variant_sums([*users("control", 10, 5), *users("treatment", 60, 40)])
    found = report(design_of(experiment), {name: add_sums([sums.get(name, {})]) for name in experiment.names}, 1.0)
    assert (found.decision.action, found.decision.winner) == ("ship", "treatment")
    answer = orjson.loads(orjson.dumps(results_view(experiment, found)))
    assert [one["expected_users"] for one in answer["variants"]] == [100, 100, None]
    assert {one["variant"] for one in answer["comparisons"]} == {"treatment"}
    brief = summary(experiment, found)
    assert [one.variant for one in brief.comparisons] == ["treatment"]
    nobody = experiment.model_copy(
        update={
            "variants": [one.model_copy(update={"weight": float(one.name == "paused")}) for one in experiment.variants]
        }
    )
    alone = summary(nobody, report(design_of(nobody), {name: add_sums([]) for name in experiment.names}, 1.0))
    assert (alone.comparison, alone.winner, alone.recommendation) == (None, None, "keep_running")
