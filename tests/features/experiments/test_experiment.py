"""The life of an experiment in the store, and one clear error for each step that is not possible."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from configs.settings import Store
from data.fields.faults import first_fault
from experiments.attribution import Rule
from features.experiments.changes import change_experiment, create_experiment, promote_winner, read_changes, read_ends
from features.experiments.counts import rule_of
from features.experiments.experiment import GRACE_MS, Definition, Experiment, ExperimentError
from features.experiments.steps import (
    archive,
    check_versions,
    elders_of,
    promoted,
    resolve_slots,
    reweigh,
    share_left,
    start,
    stop,
    winner_of,
)
from features.recording.online_store import OnlineStore
from features.serving.promotion import set_slot
from features.serving.rollout import RolloutError, read_rollout, set_rollout
from features.serving.serving_state import ServingState, read_state
from features.serving.slots import Slot, read_control, read_decisions
from features.serving.timeline import read_timeline

pytestmark = pytest.mark.anyio
BODY: dict[str, Any] = {
    "hypothesis": "more factors find more",
    "variants": [
        {"name": "control", "weight": 0.5, "slot": "champion"},
        {"name": "new", "weight": 0.5, "slot": "challenger"},
    ],
}
SLOTS = {"champion": Slot("v1", "/v1", 0, ""), "challenger": Slot("v2", "/v2", 0, "")}


def experiment(name: str = "e1", **fields: Any) -> Experiment:
    return Experiment(**{**BODY, "id": name, "seed": name, "created_ms": 0, **fields})


def state(*experiments: Experiment, slots: dict[str, Slot] = SLOTS) -> ServingState:
    return ServingState(version=0, experiments={one.id: one for one in experiments}, slots=slots, rollout=None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"variants": [{**BODY["variants"][0], "weight": 0.7}, BODY["variants"][1]]}, "their weights sum to 1.2, not"),
        ({"variants": [BODY["variants"][0]]}, "at least 2"),
        ({"variants": [BODY["variants"][0], {**BODY["variants"][1], "name": "control"}]}, "repeated"),
        ({"variants": [BODY["variants"][0], {**BODY["variants"][1], "slot": "best"}]}, "no such slot 'best'"),
        ({"variants": [BODY["variants"][0], {"name": "new", "weight": 0.5}]}, "either slot or version"),
        ({"variants": [{**BODY["variants"][0], "weight": float("nan")}, BODY["variants"][1]]}, "finite"),
        ({"coverage": 0.0}, "coverage"),
        ({"coverage": float("nan")}, "coverage"),
        ({"group_range": [0.5, 0.5]}, "the smaller one first, not 0.5 and 0.5"),
        ({"primary_metric": "happiness"}, "no such metric 'happiness'; there are click_through"),
        ({"metrics": ["happiness"]}, "no such metric"),
        ({"guardrails": [{"metric": "happiness"}]}, "no such metric"),
        ({"minimum_days": 30, "maximum_days": 7}, "maximum_days: 7 is below minimum_days, 30"),
        ({"alpha": 0}, "alpha"),
        ({"bandit": {"floor": 0.5}, "variants": [
            {"name": str(n), "weight": 0.25, "slot": "champion"} for n in range(4)]}, "leaves nothing to 4 variants"),
        ({"id": "with space"}, "letters, digits"),
        ({"hypothesis": ""}, "hypothesis"),
        ({"colour": "red"}, "colour"),
    ],
)  # fmt: skip
def test_a_definition_that_makes_no_sense_is_refused_by_field(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Definition(**{**BODY, **change})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"group_range": [0.5, 0.2]}, "group_range"),
        ({"group_range": [-0.5, 0.2]}, "group_range"),
        ({"primary_metric": "happiness"}, "primary_metric"),
        ({"metrics": ["happiness"]}, "metrics"),
        ({"guardrails": [{"metric": "happiness"}]}, "guardrails.0.metric"),
        ({"variants": [{**one, "weight": 0.6} for one in BODY["variants"]]}, "variants"),
    ],
)
def test_a_draft_is_refused_by_the_name_of_its_own_field(change: dict[str, Any], field: str) -> None:
    """A range and metrics were refused without a field, and weights by one that no draft has."""
    with pytest.raises(ValidationError) as error:
        Definition(**{**BODY, **change})
    named, words = first_fault(error.value.errors(include_url=False, include_context=False))
    assert named == field
    assert words.startswith(f"{field}: ")
    assert "namespace" not in words


def refused(words: str) -> Any:
    return pytest.raises(ExperimentError, match=words)


def test_steps_that_are_not_possible_say_why() -> None:
    draft = experiment()
    begun = start(draft, state(draft), 5)
    assert (begun.slots, begun.versions) == (
        {"control": "champion", "new": "challenger"},
        {"control": "v1", "new": "v2"},
    )
    with refused("only a draft can be started; e1 is running"):
        start(begun, state(begun), 6)
    with refused(r"variants.1.slot: the slot challenger serves nothing"):
        start(draft, state(draft, slots={"champion": SLOTS["champion"]}), 5)
    other = experiment("e2", group_range=(0.4, 1.0))
    with refused("group: e1 runs on the same users"):
        start(other, state(begun, other), 6)
    half = start(experiment(group_range=(0.0, 0.4)), state(draft), 5)
    assert start(other, state(half, other), 6).status == "running"
    with refused("only a running experiment can be stopped"):
        stop(draft, 5, "r")
    ended = stop(begun, 10, "enough")
    assert (ended.status, ended.ended_ms, ended.reason) == ("stopped", 10 + GRACE_MS, "enough")
    with refused("stop it before it is archived"):
        archive(begun)
    archived = archive(ended)
    assert archived.status == "archived"
    # Regression: it was to be stopped first, which is refused too.
    with refused("e1 is archived already"):
        archive(archived)
    with refused("e1 is archived: it has no winner any more; POST /api/v1/models/VERSION/promote"):
        winner_of(archived, "new", None)
    with refused("e1 is a draft: start it first"):
        winner_of(draft, "new", None)
    with refused("stop it before a winner is promoted"):
        winner_of(begun, "new", None)
    with refused("there is no winner; name a variant"):
        winner_of(ended, None, None)
    with refused("no variant 'best'"):
        winner_of(ended, "best", None)
    assert winner_of(ended, None, "new") == "new"
    done = promoted(ended, "new")
    assert (done.winner, done.promoted_version) == ("new", "v2")
    for one in (done, archive(done)):
        with refused("has been promoted already"):
            winner_of(one, None, "new")
    with refused("is not a bandit"):
        reweigh(begun, [0.2, 0.8], 50, 7)
    bandit = start(experiment(bandit={}), state(draft), 5)
    moved = reweigh(bandit, [0.2, 0.8], 50, 7)
    assert (moved.weights, moved.periods[-1].users) == ([0.2, 0.8], 50)


def test_an_experiment_to_which_other_groups_leave_nobody_does_not_start() -> None:
    """Regression: a list has one variant, and the elder one took every user of the other group's, without a word."""
    draft = experiment("e2", group="other")
    whole = start(experiment(), state(), 5)
    with refused(r"group: no user would be left by e1 \(group 'default'\), since a list has one variant") as error:
        start(draft, state(whole, draft), 6)
    assert (error.value.kind, error.value.field) == ("conflict", "group")
    halves = [
        start(experiment(name, group_range=part), state(), 5) for name, part in (("h1", (0.0, 0.5)), ("h2", (0.5, 1.0)))
    ]
    with refused("no user would be left by h1 .* and h2"):
        start(draft, state(*halves, draft), 6)
    partly = start(experiment(coverage=0.3), state(), 5)
    quarter = start(experiment("e3", group="third", group_range=(0.0, 0.5), coverage=0.5), state(partly), 6)
    begun = start(draft, state(partly, quarter, draft), 7)
    running_now = state(partly, quarter, begun)
    assert elders_of(partly, running_now) == []
    assert elders_of(begun, running_now) == [partly, quarter]
    assert share_left([partly, quarter]) == pytest.approx(0.7 * 0.75)


def test_an_experiment_of_one_live_arm_does_not_start() -> None:
    """Regression: with weights of 1 and 0 it ran for weeks, with nobody to compare anybody with."""
    for weights, live in (((1.0, 0.0), "control"), ((0.0, 1.0), "new")):
        arms = [{**one, "weight": weight} for one, weight in zip(BODY["variants"], weights, strict=True)]
        for fields in ({}, {"bandit": {}}):
            draft = experiment(variants=arms, **fields)
            with refused(f"variants: only {live} gets users, so there is nothing to compare it with"):
                start(draft, state(draft), 5)
    paused = [*BODY["variants"], {"name": "paused", "weight": 0.0, "slot": "champion"}]
    draft = experiment(variants=paused)
    assert start(draft, state(draft), 5).status == "running"


def test_a_version_that_there_is_not_is_refused_by_its_field() -> None:
    arms = [BODY["variants"][0], {"name": "new", "weight": 0.5, "version": "v3"}]
    definition = Definition(**{**BODY, "variants": arms})
    check_versions(definition, state(), ["v0", "v3"])
    check_versions(definition, state(slots={"challenger": Slot("v3", "/v3", 0, "")}), [])
    with refused("variants.1.version: there is no version 'v3'; the latest are v0, v4") as error:
        check_versions(definition, state(), ["v0", "v4"])
    assert (error.value.kind, error.value.field) == ("invalid", "variants.1.version")


def test_versions_find_their_slots_or_a_free_one() -> None:
    def variants(*versions: str) -> list[dict[str, Any]]:
        return [{"name": f"a{n}", "weight": 0.5, "version": version} for n, version in enumerate(versions)]

    assert resolve_slots(experiment(variants=variants("v1", "v2")), state()) == (
        {"a0": "champion", "a1": "challenger"},
        {},
    )
    assert resolve_slots(experiment(variants=variants("v1", "v9")), state()) == (
        {"a0": "champion", "a1": "challenger"},
        {"challenger": "v9"},
    )
    three = [{**one, "weight": weight} for one, weight in zip(variants("v7", "v8", "v9"), (0.5, 0.3, 0.2), strict=True)]
    assert resolve_slots(experiment(variants=[*three[:2], {**three[2], "version": "v1"}]), state())[1] == {
        "challenger": "v7", "challenger-2": "v8",
    }  # fmt: skip
    arms = [{**three[0], "version": "v2"}, {**three[1], "version": "v1"}, three[2]]
    assert resolve_slots(experiment(variants=arms), state()) == (
        {"a0": "challenger", "a1": "champion", "a2": "challenger-2"}, {"challenger-2": "v9"},
    )  # fmt: skip
    arms = [{**three[0], "version": "v9"}, {**three[1], "version": "v1"}, {**three[2], "version": "v2"}]
    assert resolve_slots(experiment(variants=arms), state())[1] == {"challenger-2": "v9"}
    with refused("no slot is free for v9"):
        resolve_slots(experiment(variants=three), state())
    with refused("do not serve v9 any more"):
        start(experiment(variants=variants("v1", "v9")), state(), 1)


async def test_every_change_is_kept_and_counts_the_version_up(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    await set_slot(client, keys, "champion", "v1", "/v1", "first")
    await set_slot(client, keys, "challenger", "v2", "/v2", "second")
    made = await create_experiment(client, keys, Definition(**BODY), 1_000)
    assert made.id == "exp-19700101-000001-000"
    with refused("there is an experiment"):
        await create_experiment(client, keys, Definition(**BODY, id=made.id), 2_000)
    with refused("there is no experiment 'nothing'"):
        await change_experiment(client, keys, "nothing", lambda one, _: one, "started", "", 1)
    await change_experiment(client, keys, made.id, lambda one, found: start(one, found, 3_000), "started", "go", 3_000)
    await change_experiment(client, keys, made.id, lambda one, _: stop(one, 4_000, "done"), "stopped", "done", 4_000)
    assert [(one.change, one.reason, one.time_ms) for one in await read_changes(client, keys, made.id)] == [
        ("stopped", "done", 4_000), ("started", "go", 3_000), ("created", BODY["hypothesis"], 1_000),
    ]  # fmt: skip
    assert (await read_state(client, keys)).experiments[made.id].status == "stopped"
    assert await read_ends(client, keys) == {made.id: 4_000 + GRACE_MS}
    assert (await read_control(client, keys)).serving_version == 5


async def test_a_winner_that_is_the_champion_already_moves_no_slot_and_is_noted_so(store: OnlineStore) -> None:
    """Regression: the timeline told of a promotion, and nothing had been moved."""
    client, keys = store.client, store.keys
    await set_slot(client, keys, "champion", "v1", "/v1", "first")
    await set_slot(client, keys, "challenger", "v2", "/v2", "second")
    made = await create_experiment(client, keys, Definition(**BODY), 1)
    await change_experiment(client, keys, made.id, lambda one, now: start(one, now, 2), "started", "go", 2)
    await change_experiment(client, keys, made.id, lambda one, _: stop(one, 3, "done"), "stopped", "done", 3)
    before = await read_decisions(client, keys)
    done = await promote_winner(client, keys, Path("none"), made.id, "control", "it is better", 4)
    assert (done.winner, done.promoted_version) == ("control", "v1")
    words = "no slot was moved, v1 is the champion already; it is better"
    latest = (await read_changes(client, keys, made.id))[0]
    assert (latest.change, latest.reason) == ("decided", words)
    assert await read_decisions(client, keys) == before
    entries = [one for one in await read_timeline(client, keys, 20) if one.kind == "experiment"]
    assert f"experiment {made.id} decided: {words}" in [one.text for one in entries]
    assert not any("promoted" in one.text for one in entries)


async def test_two_who_start_on_the_same_users_at_once_cannot_both(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    await set_slot(client, keys, "champion", "v1", "/v1", "first")
    both = [{**one, "slot": "champion"} for one in BODY["variants"]]
    for name in ("e1", "e2"):
        await create_experiment(client, keys, Definition(**{**BODY, "variants": both, "id": name}), 1)

    async def begin(name: str) -> bool:
        try:
            await change_experiment(client, keys, name, lambda one, now: start(one, now, 2), "started", "", 2)
        except ExperimentError:
            return False
        return True

    assert sorted(await asyncio.gather(begin("e1"), begin("e2"))) == [False, True]


async def test_a_rollout_is_one_change_in_the_timeline(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    with pytest.raises(RolloutError, match="share: must be between 0 and 1"):
        await set_rollout(client, keys, 1.5, "r", 1)
    with pytest.raises(RolloutError, match="serves nothing"):
        await set_rollout(client, keys, 0.1, "r", 1)
    await set_slot(client, keys, "champion", "v1", "/v1", "first", 1)
    await set_slot(client, keys, "challenger", "v2", "/v2", "second", 2)
    made = await create_experiment(client, keys, Definition(**BODY), 3)
    found = await set_rollout(client, keys, 0.25, "carefully", 4)
    assert found == await read_rollout(client, keys)
    assert found is not None
    assert (found.share, found.version, found.since_ms) == (0.25, "v2", 4)
    decision = (await read_decisions(client, keys, 1))[0]
    assert (decision.slot, decision.version, decision.reason) == (
        "challenger", "v2", "rollout of 0.25 of the traffic: carefully",
    )  # fmt: skip
    with refused("25% of the traffic by a rollout"):
        await change_experiment(client, keys, made.id, lambda one, now: start(one, now, 5), "started", "", 5)
    assert await set_rollout(client, keys, 0, "enough", 6) is None
    assert await read_rollout(client, keys) is None
    await change_experiment(client, keys, made.id, lambda one, now: start(one, now, 7), "started", "", 7)
    with pytest.raises(RolloutError, match="decides on the traffic"):
        await set_rollout(client, keys, 0.1, "r", 8)


def test_the_rule_of_attribution_comes_from_the_settings() -> None:
    rule = rule_of(Store(attribution_lists=7))
    assert rule == Rule(
        window_ms=86_400_000, session_gap_ms=1_800_000, clock_skew_ms=300_000, lists_kept=7, counted_lists=100
    )
