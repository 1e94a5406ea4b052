"""What is kept of a retraining: the run, from its trigger to the decision about its model, and what its job found."""

import secrets
import time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from configs import clock

Trigger = Literal["person", "metric", "drift", "events", "schedule"]
Policy = Literal["manual", "gate", "experiment"]
State = Literal["submitting", "training", "judging", "testing", "ended"]
Outcome = Literal["promoted", "not_promoted", "waiting", "failed", "stopped"]


class _Part(BaseModel):
    # What another version of this wrote, before or after an upgrade, must still be read.
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class Run(_Part):
    """One retraining, from its trigger to the last decision about its model."""

    run_id: str = Field(description="also the id of its job in Ray")
    trigger: Trigger
    reason: str
    who: str | None = Field(None, description="who asked for it; null in runs that an earlier version wrote")
    policy: Policy
    state: State = "submitting"
    requested_ms: int
    deadline_ms: int = Field(description="when a job that has not ended is stopped")
    champion: str | None = Field(None, description="version that served when it began")
    seen: int = Field(0, description="version of the serving state when it began")
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
    not_served: str | None = Field(None, description="why the slot that it was trained for does not serve it")


def new_run(
    trigger: Trigger,
    reason: str,
    policy: Policy,
    deadline_s: float,
    champion: str | None,
    seen: int = 0,
    who: str | None = None,
) -> Run:
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
        seen=seen,
        who=who,
    )
