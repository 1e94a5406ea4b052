"""A share of the traffic for the challenger without an experiment, so that a new model can be let in by degrees."""

from dataclasses import replace

from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.serving_state import PERSON, ServingState, StateChange, StateConflictError, change, read_state
from features.serving.slots import CHALLENGER, Rollout

SEED = "rollout"
"""The seed of the hash that lets users in. It never changes, so a user let in at 10 % stays in at 20 %."""


class RolloutError(StateConflictError):
    """The rollout is not possible now; the message says why."""


def check_share(share: float) -> None:
    """Raises `RolloutError` for a share outside 0 to 1."""
    if not 0 <= share <= 1:
        raise RolloutError(f"share: must be between 0 and 1, not {share:g}")


async def read_rollout(client: StoreClient, keys: Keys) -> Rollout | None:
    """The present rollout; None where there is none. Raises `StoreUnavailable`."""
    return (await read_state(client, keys)).rollout


async def set_rollout(
    client: StoreClient,
    keys: Keys,
    share: float,
    reason: str,
    now_ms: int,
    who: str = PERSON,
    version: str | None = None,
) -> Rollout | None:
    """Give the challenger a share of the traffic; 0 ends it.

    Args:
        version: refuse if the challenger's slot serves another one by now.

    Raises:
        RolloutError: a share outside 0 to 1, nothing (or another version) in the challenger's slot, an experiment that
            runs.
        StoreError: the store does not answer; nothing has changed, or all of it.
    """
    check_share(share)
    changed: Rollout | None = None

    def decide(state: ServingState) -> StateChange | None:
        nonlocal changed
        serving = state.serving(CHALLENGER)
        if share > 0:
            if serving is None:
                raise RolloutError("the slot challenger serves nothing: give it a version first")
            if version not in (None, serving):
                raise RolloutError(f"the slot challenger serves {serving} by now, not {version}; look again")
            for one in state.experiments.values():
                if one.status == "running":
                    raise RolloutError(f"the experiment {one.id} decides on the traffic: stop it first")
            changed = Rollout(share, serving, now_ms, reason)
        elif state.rollout is None:
            return None
        return StateChange(replace(state, rollout=changed), who, reason, time_ms=now_ms)

    await change(client, keys, decide)
    return changed
