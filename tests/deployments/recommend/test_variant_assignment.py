"""Who gets which model, from the state of the store to the answer of one request."""

from collections import Counter
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.http.errors import ApiError
from deployments.recommend.variant_assignment import DEFAULT, Assigned, VariantAssignment, events_before
from experiments.assignment import assign
from features.experiments.experiment import Bandit, Experiment, Variant
from features.experiments.steps import running, share_left, start
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.serving_state import ServingState
from features.serving.slots import Rollout, Slot

SLOTS = {"champion": Slot("v1", "/v1", 0, ""), "challenger": Slot("v2", "/v2", 0, "")}
EVEN = [Variant(name="control", weight=0.5, slot="champion"), Variant(name="new", weight=0.5, slot="challenger")]


def started(name: str = "e1", at_ms: int = 1, **fields: Any) -> Experiment:
    given = {"variants": EVEN, "hypothesis": "h", "seed": name, "created_ms": 0, **fields}
    state = ServingState(version=0, experiments={}, slots=SLOTS, rollout=None)
    return start(Experiment(id=name, **given), state, at_ms)


def traffic(
    *experiments: Experiment, slots: dict[str, Slot] = SLOTS, rollout: Rollout | None = None
) -> VariantAssignment:
    found = VariantAssignment(cast(StoreClient, None), Keys("t", 4))
    found.use(ServingState(version=1, experiments={one.id: one for one in experiments}, slots=slots, rollout=rollout))
    return found


@given(
    st.text(min_size=1), st.floats(0.01, 1), st.sampled_from([(0.5, 0.5), (0.9, 0.1), (0.333, 0.667), (1e-9, 1 - 1e-9)])
)
def test_the_compiled_plan_assigns_as_the_published_hash_does(
    user: str, coverage: float, weights: tuple[float, float]
) -> None:
    variants = [one.model_copy(update={"weight": weight}) for one, weight in zip(EVEN, weights, strict=True)]
    experiment = started(variants=variants, coverage=coverage, group="g", group_range=(0.1, 0.8))
    expected = assign(experiment.traffic(), user)
    slot = experiment.slots.get(expected.variant or "")
    inside = slot and Assigned("e1", expected.variant, slot, version=SLOTS[slot].version)
    assert traffic(experiment).assign(user, None, None) == (inside or DEFAULT)


def test_without_experiment_and_rollout_everybody_gets_the_champion() -> None:
    assert {traffic().assign(f"u{n}", {}, None) for n in range(100)} == {DEFAULT}


def test_two_experiments_share_no_user_and_the_elder_comes_first() -> None:
    elder, younger = started("z", 1, coverage=0.3), started("a", 2, group="other")
    plan = traffic(younger, elder)
    counts = Counter(plan.assign(f"u{n}", None, None).experiment for n in range(4000))
    assert counts["z"] == sum(assign(elder.traffic(), f"u{n}").variant is not None for n in range(4000))
    assert counts["a"] == 4000 - counts["z"]


def test_elder_experiments_of_other_groups_leave_the_share_that_is_said() -> None:
    elders = [
        started("e1", 1, coverage=0.3),
        started("e2", 2, group="second", group_range=(0.0, 0.25)),
        started("e3", 3, group="second", group_range=(0.25, 0.5), coverage=0.5),
    ]
    plan = traffic(*elders, started("e4", 4, group="third"))
    got = sum(plan.assign(f"u{n}", None, None).experiment == "e4" for n in range(8000))
    assert share_left(elders) == pytest.approx(0.7 * 0.625)
    assert got / 8000 == pytest.approx(share_left(elders), abs=0.02)


def test_a_bandits_user_keeps_the_first_variant_whatever_the_weights_are_now() -> None:
    all_new = [one.model_copy(update={"weight": 1 - 1e-9 if one.name == "new" else 1e-9}) for one in EVEN]
    plan = traffic(started(variants=all_new, bandit=Bandit(floor=0.0)))
    assert plan.assign("u", {b"x": b"e1|control"}, None).variant == "control"
    assert plan.assign("u", {b"x": b"e0|control"}, None).variant == "new"  # of another experiment
    assert plan.assign("u", {b"x": b"e1|gone"}, None).variant == "new"
    assert plan.assign("u", None, None).variant == "new"
    fixed = traffic(started(variants=all_new))
    assert fixed.assign("u", {b"x": b"e1|control"}, None).variant == "new"


def test_a_changed_slot_suspends_the_experiment_for_both_variants() -> None:
    moved = {**SLOTS, "challenger": Slot("v3", "/v3", 0, "")}
    plan = traffic(started(), slots=moved)
    assert {plan.assign(f"u{n}", None, None) for n in range(100)} == {DEFAULT}
    assert "v3" in plan.suspended["e1"]


def test_a_variant_can_be_forced_and_is_marked() -> None:
    plan = traffic(started(coverage=0.0001))
    assert plan.assign("u", None, "new") == Assigned("e1", "new", "challenger", forced=True, version="v2")
    assert plan.assign("u", None, "challenger") == Assigned(None, "challenger", "challenger", forced=True)
    assert plan.assign("u", None, "challenger-2") == Assigned(None, "challenger-2", "challenger-2", forced=True)
    with pytest.raises(ApiError, match=r"force_variant: there is no 'best'.*control, new, champion") as caught:
        plan.assign("u", None, "best")
    assert (caught.value.status, caught.value.field) == (422, "force_variant")


def test_a_rollout_lets_in_its_share_and_never_puts_a_user_out_as_it_grows() -> None:
    inside: set[str] = set()
    for share in (0.05, 0.2, 1.0):
        plan = traffic(rollout=Rollout(share, "v2", 0, ""))
        now = {f"u{n}" for n in range(4000) if plan.assign(f"u{n}", None, None).slot == "challenger"}
        assert inside <= now
        assert len(now) == pytest.approx(4000 * share, abs=5 * (4000 * share * (1 - share)) ** 0.5 + 1)
        inside = now
    other = {**SLOTS, "challenger": Slot("v3", "/v3", 0, "")}
    assert traffic(slots=other, rollout=Rollout(1.0, "v2", 0, "")).assign("u", None, None) == DEFAULT


def test_events_before_are_all_counters_and_nothing_else() -> None:
    assert events_before({b"n1": b"3", b"n12": b"4", b"ver": b"99", b"act": b"n5", b"c:Drama": b"x"}) == 7
    assert events_before(None) == 0


def test_running_experiments_come_by_their_start() -> None:
    state = ServingState(version=1, experiments={"b": started("b", 5), "a": started("a", 9)}, slots=SLOTS, rollout=None)
    assert [one.id for one in running(state)] == ["b", "a"]
