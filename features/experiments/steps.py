"""The steps of an experiment's life as plain functions of what steers traffic; each refuses what is not possible."""

import math
from collections.abc import Mapping, Sequence
from itertools import takewhile

from experiments.assignment import Namespace
from features.experiments.experiment import GRACE_MS, Definition, Experiment, ExperimentError, Reading, WeightPeriod
from features.serving.serving_state import ServingState
from features.serving.slots import CHAMPION, SLOTS

LEAST_SHARE = 0.002
"""Below this share of the users an experiment counts as having none: buckets of a group are thousandths."""


def resolve_slots(experiment: Experiment, state: ServingState) -> tuple[dict[str, str], dict[str, str]]:
    """Slots of the variants, and the versions that have to be put into slots first (slot -> version).

    Raises:
        ExperimentError: a slot serves nothing, or more versions are asked for than there are free slots.
    """
    slots: dict[str, str] = {}
    wanted: dict[str, str] = {}
    serving = {slot.version: name for name, slot in state.slots.items()}
    taken = {CHAMPION, *(variant.slot for variant in experiment.variants if variant.slot)}
    taken |= {claim.slot for claim in state.claims(0)}
    # A version that a slot serves already stays where it is, whichever variant asks for it.
    taken |= {serving[variant.version] for variant in experiment.variants if variant.version in serving}
    for place, variant in enumerate(experiment.variants):
        field = f"variants.{place}"
        if variant.slot is not None:
            if variant.slot not in state.slots:
                raise ExperimentError("conflict", f"{field}.slot: the slot {variant.slot} serves nothing", field)
            slots[variant.name] = variant.slot
            continue
        assert variant.version is not None
        if variant.version in serving:
            slots[variant.name] = serving[variant.version]
            continue
        if variant.version not in wanted.values():
            free = next((name for name in SLOTS if name not in taken), None)
            if free is None:
                raise ExperimentError(
                    "conflict", f"{field}.version: no slot is free for {variant.version}; there are {', '.join(SLOTS)}",
                    field,
                )  # fmt: skip
            taken.add(free)
            wanted[free] = variant.version
        slots[variant.name] = next(name for name, version in wanted.items() if version == variant.version)
    return slots, wanted


def check_versions(definition: Definition, state: ServingState, on_disk: Sequence[str]) -> None:
    """Raises `ExperimentError` where a variant names a version that no slot serves and no bundle holds.

    Args:
        on_disk: versions whose bundles are there, the newest last.
    """
    known = {*on_disk, *(slot.version for slot in state.slots.values())}
    for place, variant in enumerate(definition.variants):
        if variant.version is not None and variant.version not in known:
            field, latest = f"variants.{place}.version", ", ".join(on_disk[-5:]) or "none"
            words = f"{field}: there is no version {variant.version!r}; the latest are {latest}"
            raise ExperimentError("invalid", words, field)


def check_start(experiment: Experiment, state: ServingState) -> None:
    """Raises `ExperimentError` for a start that the state does not allow."""
    if experiment.status != "draft":
        raise ExperimentError("conflict", f"only a draft can be started; {experiment.id} is {experiment.status}")
    live = [variant.name for variant in experiment.variants if variant.weight > 0]
    if len(live) < 2:
        raise ExperimentError(
            "conflict", f"variants: only {live[0]} gets users, so there is nothing to compare it with; create an "
            "experiment in which at least two variants have a weight above 0", "variants",
        )  # fmt: skip
    if state.rollout is not None:
        share = f"{state.rollout.share:.0%}"
        raise ExperimentError("conflict", f"the challenger gets {share} of the traffic by a rollout: end it first")
    own = Namespace(experiment.group, *experiment.group_range)
    for other in running(state):
        if own.overlaps(Namespace(other.group, *other.group_range)):
            raise ExperimentError(
                "conflict", f"group: {other.id} runs on the same users of group {own.name!r}; stop it, or give both "
                "a group_range of their own", "group",
            )  # fmt: skip
    elders = elders_of(experiment, state)
    if share_left(elders) < LEAST_SHARE:
        names = " and ".join(f"{one.id} (group {one.group!r})" for one in elders)
        raise ExperimentError(
            "conflict", f"group: no user would be left by {names}, since a list has one variant, whatever the group; "
            "stop it, or start both in one group, each with a group_range of its own", "group",
        )  # fmt: skip


def start(experiment: Experiment, state: ServingState, now_ms: int) -> Experiment:
    """The experiment as running, with the slots and versions that it compares.

    Raises:
        ExperimentError: the state does not allow it.
    """
    check_start(experiment, state)
    slots, wanted = resolve_slots(experiment, state)
    if wanted:
        raise ExperimentError("conflict", f"the slots do not serve {', '.join(wanted.values())} any more; start again")
    return experiment.model_copy(
        update={
            "status": "running",
            "started_ms": now_ms,
            "slots": slots,
            "versions": {name: state.slots[slot].version for name, slot in slots.items()},
            "periods": [WeightPeriod(since_ms=now_ms, weights=experiment.weights, users=0)],
            "sample_users": experiment.planned_users,
        }
    )


def fix_sample(experiment: Experiment, users: int) -> Experiment:
    """The experiment with the users in each variant at which it is read. Raises `ExperimentError` where it has them."""
    if experiment.status != "running" or experiment.sample_users is not None:
        raise ExperimentError("conflict", f"{experiment.id} is {experiment.status}, or its sample has been fixed")
    return experiment.model_copy(update={"sample_users": users})


def read_once(experiment: Experiment, reading: Reading) -> Experiment:
    """The experiment with what its test was read from. Raises `ExperimentError` where it has been read."""
    if experiment.reading is not None:
        raise ExperimentError("conflict", f"{experiment.id} has been read already")
    return experiment.model_copy(update={"reading": reading})


def stop(experiment: Experiment, now_ms: int, reason: str) -> Experiment:
    """The experiment as stopped; what happens within the grace time still counts. Raises `ExperimentError`."""
    if experiment.status != "running":
        raise ExperimentError(
            "conflict", f"only a running experiment can be stopped; {experiment.id} is {experiment.status}"
        )
    return experiment.model_copy(update={"status": "stopped", "ended_ms": now_ms + GRACE_MS, "reason": reason})


def archive(experiment: Experiment) -> Experiment:
    """The experiment as archived; its results stay. Raises `ExperimentError` while it runs, and where it is already."""
    if experiment.status == "running":
        raise ExperimentError("conflict", f"{experiment.id} is running: stop it before it is archived")
    if experiment.status == "archived":
        raise ExperimentError("conflict", f"{experiment.id} is archived already")
    return experiment.model_copy(update={"status": "archived"})


def promoted(experiment: Experiment, winner: str) -> Experiment:
    """The experiment with its winner, whose version has become the champion."""
    return experiment.model_copy(update={"winner": winner, "promoted_version": experiment.versions[winner]})


def winner_of(experiment: Experiment, asked: str | None, decided: str | None) -> str:
    """The variant to promote.

    Raises:
        ExperimentError: it is not stopped, has been promoted, or there is no winner and none was named.
    """
    if experiment.winner is not None:
        raise ExperimentError("conflict", f"{experiment.winner} of {experiment.id} has been promoted already")
    if experiment.status != "stopped":
        words = {
            "draft": "a draft: start it first, nobody has seen its variants",
            "running": "running: stop it before a winner is promoted",
            "archived": "archived: it has no winner any more; POST /api/v1/models/VERSION/promote promotes a version",
        }[experiment.status]
        raise ExperimentError("conflict", f"{experiment.id} is {words}")
    if asked is not None and asked not in experiment.names:
        raise ExperimentError(
            "invalid", f"variant: no variant {asked!r}; there are {', '.join(experiment.names)}", "variant"
        )
    if asked is None and decided is None:
        raise ExperimentError("conflict", "there is no winner; name a variant to promote it all the same", "variant")
    return asked or decided or ""


def reweigh(experiment: Experiment, weights: Sequence[float], users: int, now_ms: int) -> Experiment:
    """The experiment with other weights for users who arrive from now on.

    Args:
        users: how many are in the experiment now; the sample ratio is judged by the weights under which users came.
    """
    if experiment.status != "running":
        raise ExperimentError("conflict", f"{experiment.id} is {experiment.status}: its weights stay")
    if experiment.bandit is None:
        raise ExperimentError("conflict", f"{experiment.id} is not a bandit: its weights stay")
    variants = [
        variant.model_copy(update={"weight": weight})
        for variant, weight in zip(experiment.variants, weights, strict=True)
    ]
    period = WeightPeriod(since_ms=now_ms, weights=list(weights), users=users)
    return experiment.model_copy(update={"variants": variants, "periods": [*experiment.periods, period]})


def running(state: ServingState) -> list[Experiment]:
    """Running experiments, the one that was started first first: it has the first claim to a user."""
    found = [one for one in state.experiments.values() if one.status == "running"]
    return sorted(found, key=lambda one: (one.started_ms or 0, one.id))


def elders_of(experiment: Experiment, state: ServingState) -> list[Experiment]:
    """Running experiments of other groups that were started before, or before one that has not been started.

    A list has one variant, so they have the first claim to a user. Those of the same group share no user with it.
    """
    started = takewhile(lambda one: one.id != experiment.id, running(state))
    return [one for one in started if one.group != experiment.group]


def share_left(elders: Sequence[Experiment]) -> float:
    """The share of users whom experiments leave to another group's. Groups divide users independently of each other,
    and the experiments of one group have disjoint parts of it."""
    taken: dict[str, float] = {}
    for one in elders:
        begin, end = one.group_range
        taken[one.group] = taken.get(one.group, 0.0) + one.coverage * (end - begin)
    return math.prod(max(0.0, 1 - share) for share in taken.values())


def changed_slot(experiment: Experiment, serving: Mapping[str, str]) -> str | None:
    """Why a running experiment must not get users: a slot of it serves another version than at its start.

    Args:
        serving: slot -> version.
    """
    for variant, slot in experiment.slots.items():
        if serving.get(slot) != experiment.versions[variant]:
            now = serving.get(slot) or "nothing"
            return f"the slot {slot} serves {now}, the experiment began with {experiment.versions[variant]}"
    return None
