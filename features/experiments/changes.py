"""The life of experiments in the store: draft -> running -> stopped -> archived (a draft may be archived too).

Every step is a change of the serving state, so two people cannot start two experiments on the same users, and the slots
that a running experiment compares go on to serve what they served at its start.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from features.experiments.experiment import Definition, Experiment, ExperimentChange, ExperimentError
from features.experiments.steps import promoted, winner_of
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.promotion import PromotionError, verified, with_slot
from features.serving.serving_state import PERSON, ServingState, StateChange, change, read_state
from features.serving.slots import CHAMPION, Slot


async def read_ends(client: StoreClient, keys: Keys) -> dict[str, int]:
    """experiment -> the last moment that counts, of those that were stopped."""
    experiments = (await read_state(client, keys)).experiments.values()
    return {one.id: one.ended_ms for one in experiments if one.ended_ms is not None}


async def read_changes(client: StoreClient, keys: Keys, experiment: str, limit: int = 200) -> list[ExperimentChange]:
    """The latest changes of an experiment, newest first, among the last 2,000 of all."""
    entries = await client.run("XREVRANGE", keys.experiment_changes, "+", "-", "COUNT", 2_000)
    rows = [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in entries]
    found = [row for row in rows if row["experiment"] == experiment][:limit]
    return [ExperimentChange(**{name: row[name] for name in ExperimentChange.model_fields}) for row in found]


def known(state: ServingState, experiment: str) -> Experiment:
    """The experiment. Raises `ExperimentError` where there is none."""
    found = state.experiments.get(experiment)
    if found is None:
        raise ExperimentError("missing", f"there is no experiment {experiment!r}", "id")
    return found


async def create_experiment(
    client: StoreClient, keys: Keys, definition: Definition, now_ms: int, who: str = PERSON
) -> Experiment:
    """Store a draft. Raises `ExperimentError` when the id is taken."""
    given = definition.model_dump()
    given["id"] = (
        definition.id or time.strftime("exp-%Y%m%d-%H%M%S", time.gmtime(now_ms / 1000)) + f"-{now_ms % 1000:03d}"
    )
    given["seed"] = definition.seed or given["id"]
    draft = Experiment(**given, created_ms=now_ms)

    def create(state: ServingState) -> StateChange:
        if draft.id in state.experiments:
            raise ExperimentError("conflict", f"id: there is an experiment {draft.id!r} already", "id")
        return StateChange(_with(state, draft), who, draft.hypothesis, step="created", time_ms=now_ms)

    await change(client, keys, create)
    return draft


async def change_experiment(
    client: StoreClient,
    keys: Keys,
    experiment: str,
    step: Callable[[Experiment, ServingState], Experiment],
    change_name: str,
    reason: str,
    now_ms: int,
    who: str = PERSON,
) -> Experiment:
    """Take one step; `step` is asked again when something changed meanwhile.

    Args:
        change_name: what the step is called in the log: started, stopped, archived, reweighed.

    Raises:
        ExperimentError: no such experiment, or the step is not possible.
        SlotInUseError: a slot does not serve what the experiment compares.
    """
    changed: list[Experiment] = []

    def take(state: ServingState) -> StateChange:
        changed.append(step(known(state, experiment), state))
        return StateChange(_with(state, changed[-1]), who, reason, step=change_name, time_ms=now_ms)

    await change(client, keys, take)
    return changed[-1]


async def promote_winner(
    client: StoreClient,
    keys: Keys,
    bundles_dir: Path,
    experiment: str,
    winner: str,
    reason: str,
    now_ms: int,
    who: str = PERSON,
) -> Experiment:
    """Let the version of a stopped experiment's winner be the champion, in one change with the experiment's last.

    Where it is the champion already, no slot moves, and the log and the timeline say so.

    Raises:
        ExperimentError: it is not stopped, has been promoted, or its version cannot be served.
        SlotInUseError: something needs the champion's slot as it is.
    """
    state = await read_state(client, keys)
    found = known(state, experiment)
    version = found.versions[winner_of(found, winner, None)]
    try:
        uri = None if state.serving(CHAMPION) == version else await verified(bundles_dir, version)
    except PromotionError as error:
        raise ExperimentError("conflict", f"version: {error}", "version") from error
    changed: list[Experiment] = []

    def take(state: ServingState) -> StateChange:
        one = known(state, experiment)
        changed.append(promoted(one, winner_of(one, winner, None)))
        after = _with(state, changed[-1])
        if state.serving(CHAMPION) == version:
            words = f"no slot was moved, {version} is the champion already; {reason}"
            return StateChange(after, who, words, step="decided", time_ms=now_ms)
        if uri is None:
            raise ExperimentError("conflict", "the champion was changed meanwhile; look again, then decide")
        after = with_slot(after, CHAMPION, Slot(version, uri, now_ms, reason), who)
        return StateChange(after, who, reason, step="promoted", time_ms=now_ms)

    await change(client, keys, take)
    return changed[-1]


def _with(state: ServingState, experiment: Experiment) -> ServingState:
    return replace(state, experiments={**state.experiments, experiment.id: experiment})
