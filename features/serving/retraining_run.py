"""The retraining in progress: one at a time, its state in the store, so that whoever is killed, another goes on.

    submitting -> training -> judging -> testing -> (ended)

Every step is written before it is taken, together with its line of the timeline, and only if nobody else took one
meanwhile. The job's id in Ray is the run's id: submitting it twice is refused by Ray, so it cannot run twice.
"""

from collections.abc import Callable
from dataclasses import replace

from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.run_record import Run, RunResult
from features.serving.serving_state import AUTOPILOT, PERSON, ServingState, StateChange, change
from features.serving.timeline import Entry

RESULT_KEPT_S = 30 * 86_400
Also = Callable[[ServingState], ServingState]


def unchanged(state: ServingState) -> ServingState:
    """Nothing else changes by a step."""
    return state


class _TakenError(Exception):
    """The place is another run's, or the run is no longer as it was seen."""

    def __init__(self, now: Run | None) -> None:
        self.now = now


def asker(run: Run) -> str:
    """Who asked for a run, and so for all of its steps."""
    return run.who or (PERSON if run.trigger == "person" else AUTOPILOT)


async def read_run(client: StoreClient, keys: Keys) -> Run | None:
    """The run in progress. Raises `StoreError`."""
    found = await client.run("GET", keys.run)
    return None if found is None else Run.model_validate_json(found)


async def read_last_run(client: StoreClient, keys: Keys) -> Run | None:
    """The latest run that has ended. Raises `StoreError`."""
    found = await client.run("GET", keys.last_run)
    return None if found is None else Run.model_validate_json(found)


async def begin_run(client: StoreClient, keys: Keys, run: Run, line: Entry) -> Run | None:
    """Claim the one place for a retraining.

    Returns:
        None when the place is the caller's now; otherwise the run that holds it.

    Raises:
        StoreError: the store does not answer; the place may or may not have been claimed.
    """

    def claim(state: ServingState) -> StateChange:
        if state.run is not None:
            raise _TakenError(state.run)
        return StateChange(replace(state, run=run), asker(run), run.reason, (line,))

    try:
        await change(client, keys, claim)
    except _TakenError as error:
        return error.now
    return None


async def advance_run(
    client: StoreClient,
    keys: Keys,
    seen: Run,
    after: Run,
    line: Entry,
    also: Also = unchanged,
) -> bool:
    """Write the run's next state over the one that was seen.

    Args:
        also: what else changes by the same step; whatever it raises, nothing is written.

    Returns:
        False when somebody else changed the run meanwhile; then nothing is written.

    Raises:
        StateConflictError: what else should change cannot.
        StoreError: the store does not answer; the change may or may not have been written.
    """

    def step(state: ServingState) -> StateChange:
        if state.run is None or (state.run.run_id, state.run.state) != (seen.run_id, seen.state):
            raise _TakenError(state.run)
        ended = after.state == "ended"
        moved = replace(state, run=None, last_run=after) if ended else replace(state, run=after)
        return StateChange(also(moved), asker(after), line.text, (line,))

    try:
        await change(client, keys, step)
    except _TakenError:
        return False
    return True


async def keep_result(client: StoreClient, keys: Keys, run_id: str, result: RunResult) -> None:
    """Keep what the job found for whoever waits for it. Raises `StoreError`."""
    await client.run("SET", keys.run_result(run_id), result.model_dump_json(), "EX", RESULT_KEPT_S)


async def read_result(client: StoreClient, keys: Keys, run_id: str) -> RunResult | None:
    """What the job found; None while it has not said so. Raises `StoreError`."""
    found = await client.run("GET", keys.run_result(run_id))
    return None if found is None else RunResult.model_validate_json(found)
