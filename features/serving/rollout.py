"""A share of the traffic for the challenger without an experiment, so that a new model can be let in by degrees."""

from dataclasses import asdict, dataclass

import orjson

from features.redis.connection import StoreClient
from features.redis.errors import StoreBusy
from features.redis.keys import Keys
from features.redis.scripts import Script, run_script
from features.serving.slots import CHALLENGER, DECISIONS_KEPT, read_slots

SEED = "rollout"
"""The seed of the hash that lets users in. It never changes, so a user let in at 10 % stays in at 20 %."""
_CHANGE = Script("change_rollout", DECISIONS_KEPT=DECISIONS_KEPT)
_TRIES = 20


class RolloutError(ValueError):
    """The rollout is not possible now; the message says why."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """`share` of all users (above 0, at most 1) get the challenger's model."""

    share: float
    version: str
    since_ms: int
    reason: str


def unpack_rollout(raw: bytes | None) -> Rollout | None:
    """The rollout in the JSON of the store."""
    return None if raw is None else Rollout(**orjson.loads(raw))


def check_share(share: float) -> None:
    """Raises `RolloutError` for a share outside 0 to 1."""
    if not 0 <= share <= 1:
        raise RolloutError(f"share: must be between 0 and 1, not {share:g}")


async def read_rollout(client: StoreClient, keys: Keys) -> Rollout | None:
    """The present rollout; None where there is none. Raises `StoreUnavailable`."""
    return unpack_rollout(await client.run("GET", keys.rollout))


async def set_rollout(client: StoreClient, keys: Keys, share: float, reason: str, now_ms: int) -> Rollout | None:
    """Give the challenger a share of the traffic; 0 ends it. One atomic change, written into the timeline.

    Raises:
        RolloutError: a share outside 0 to 1, nothing in the challenger's slot, an experiment that runs.
        StoreError: the store does not answer; nothing has changed, or all of it.
    """
    check_share(share)
    for _ in range(_TRIES):
        version = int(await client.run("HGET", keys.versions, "traffic") or 0)
        challenger = (await read_slots(client, keys)).get(CHALLENGER)
        if challenger is None and share > 0:
            raise RolloutError("the slot challenger serves nothing: give it a version first")
        if share > 0:
            for raw in (await client.run("HGETALL", keys.experiments)).values():
                experiment = orjson.loads(raw)
                if experiment["status"] == "running":
                    raise RolloutError(f"the experiment {experiment['id']} decides on the traffic: stop it first")
        serving = challenger.version if challenger else ""
        changed = Rollout(share, serving, now_ms, reason) if share > 0 else None
        packed = b"" if changed is None else orjson.dumps(asdict(changed))
        script_keys = [keys.rollout, keys.versions, keys.decisions]
        text = f"rollout of {share:.3g} of the traffic: {reason}" if share > 0 else f"rollout ended: {reason}"
        args = [version, packed, serving, f"{share:g}", text, now_ms]
        if int(await run_script(client, _CHANGE, script_keys, args)) >= 0:
            return changed
    raise StoreBusy("others keep changing the traffic; try again")
