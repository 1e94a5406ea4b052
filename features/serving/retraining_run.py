"""The retraining in progress: one at a time, its state in the store, so that whoever is killed, another goes on.

    submitting -> training -> judging -> testing -> (ended)

Every step is written before it is taken, together with its line of the timeline, and only if nobody else took one
meanwhile. The job's id in Ray is the run's id: submitting it twice is refused by Ray, so it cannot run twice.
"""

import secrets
import time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from configs import clock
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.redis.scripts import Script, run_script
from features.serving.timeline import KEPT, Entry

Trigger = Literal["person", "metric", "drift", "events", "schedule"]
Policy = Literal["manual", "gate", "experiment"]
State = Literal["submitting", "training", "judging", "testing", "ended"]
Outcome = Literal["promoted", "not_promoted", "waiting", "failed", "stopped"]
RESULT_KEPT_S = 30 * 86_400
_CHANGE = Script("change_run", TIMELINE_KEPT=KEPT)


class _Part(BaseModel):
    # What another version of this wrote, before or after an upgrade, must still be read.
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class Run(_Part):
    """One retraining, from its trigger to the last decision about its model."""

    run_id: str = Field(description="also the id of its job in Ray")
    trigger: Trigger
    reason: str
    policy: Policy
    state: State = "submitting"
    requested_ms: int
    deadline_ms: int = Field(description="when a job that has not ended is stopped")
    champion: str | None = Field(None, description="version that served when it began")
    challenger: str | None = Field(None, description="version that it trained, once known")
    experiment: str | None = Field(None, description="id of the experiment that tests it")
    since_ms: int = Field(0, description="when the present state began")
    outcome: Outcome | None = None
    detail: str | None = Field(None, description="how it ended, in words")
    ended_ms: int | None = None

    def at(self, state: State, **changes: object) -> "Run":
        """The same run in another state."""
        return self.model_copy(update={"state": state, "since_ms": clock.now_ms(), **changes})


class RunResult(_Part):
    """What a retraining job says when it has published its model."""

    version: str
    uri: str
    passed: bool = Field(description="whether the gate lets it replace the champion")
    reasons: str
    metrics: dict[str, float]


def new_run(trigger: Trigger, reason: str, policy: Policy, deadline_s: float, champion: str | None) -> Run:
    """A run that begins now."""
    now = clock.now_ms()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now / 1000))
    return Run(
        run_id=f"retrain-{stamp}-{secrets.token_hex(3)}",
        trigger=trigger,
        reason=reason,
        policy=policy,
        requested_ms=now,
        since_ms=now,
        deadline_ms=now + int(deadline_s * 1000),
        champion=champion,
    )


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
    return await _change(client, keys, "", run, line)


async def advance_run(client: StoreClient, keys: Keys, seen: Run, after: Run, line: Entry) -> bool:
    """Write the run's next state over the one that was seen.

    Returns:
        False when somebody else changed the run meanwhile; then nothing is written.

    Raises:
        StoreError: the store does not answer; the change may or may not have been written.
    """
    return await _change(client, keys, f"{seen.run_id}:{seen.state}", after, line) is None


async def keep_result(client: StoreClient, keys: Keys, run_id: str, result: RunResult) -> None:
    """Keep what the job found for whoever waits for it. Raises `StoreError`."""
    await client.run("SET", keys.run_result(run_id), result.model_dump_json(), "EX", RESULT_KEPT_S)


async def read_result(client: StoreClient, keys: Keys, run_id: str) -> RunResult | None:
    """What the job found; None while it has not said so. Raises `StoreError`."""
    found = await client.run("GET", keys.run_result(run_id))
    return None if found is None else RunResult.model_validate_json(found)


async def _change(client: StoreClient, keys: Keys, seen: str, after: Run, line: Entry) -> Run | None:
    ended = after.state == "ended"
    text = after.model_dump_json()
    args = [seen, "" if ended else text, text if ended else "", line.model_dump_json()]
    answer = await run_script(client, _CHANGE, [keys.run, keys.last_run, keys.timeline], args)
    if not answer:
        return None
    # "null": the run that the caller saw has ended meanwhile, and none has begun.
    return after if answer == b"null" else Run.model_validate_json(answer)
