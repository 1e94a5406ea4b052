"""One retraining, from being asked for to the decision about its model: a state machine, all of it in this file.

    state        what happens in it                          goes on to
    -----------  ------------------------------------------  ----------------------------------------------------------
    (none)       somebody asks, and the place is free         submitting
    submitting   the job is handed to Ray                     training; ended: failed (not taken before the deadline)
    training     the job runs, and tells what it published    judging; ended: failed, stopped (at the deadline)
    judging      the gate has spoken, the policy is followed  testing (policy experiment); ended: promoted (gate),
                                                              waiting (manual, a slot in use, or no experiment can
                                                              start),
                                                              not_promoted, failed (the result is gone)
    testing      an experiment compares it with the champion  ended: promoted, not_promoted, waiting

Each transition is written to the store together with its line of the timeline, and only if nobody else has moved the
run meanwhile (`features.serving.retraining_run`). Every step may be repeated, so another replica goes on where one was
killed: the id of the job in Ray is the id of the run, and Ray takes an id once.
"""

import logging
import shlex
from dataclasses import dataclass
from typing import Protocol

from configs.clock import now_ms
from configs.settings import Settings
from deployments.http.errors import ApiError
from deployments.operations.ray_jobs import JobExistsError, JobsError, RayJobs
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.promotion import with_slot
from features.serving.retraining_run import Also, advance_run, asker, begin_run, read_result, read_run, unchanged
from features.serving.run_record import Outcome, Run, RunResult, State, Trigger, new_run
from features.serving.serving_state import ServingState, StateConflictError, read_state
from features.serving.slots import CHALLENGER, CHAMPION, Slot
from features.serving.timeline import Entry, entry

logger = logging.getLogger("ray.serve")
TRANSITIONS: dict[State, tuple[State, ...]] = {
    "submitting": ("training", "ended"),
    "training": ("judging", "ended"),
    "judging": ("testing", "ended"),
    "testing": ("ended",),
    "ended": (),
}
TRIAL_START_MS = 300_000
"""How long it is tried to start the experiment of a new model."""


@dataclass(frozen=True)
class TrialEnd:
    """How a model's experiment ended."""

    outcome: Outcome
    detail: str


class ModelTrial(Protocol):
    """Tests a new model with live traffic."""

    async def begin(self, run: Run, result: RunResult) -> str | None:
        """Start the run's experiment, unless it runs. Returns what is in the way, None when nothing is."""

    async def look(self, run: Run) -> TrialEnd | None:
        """Decide, if it is time; None while the experiment goes on."""


def trial_id(run: Run) -> str:
    """The id of a run's experiment: the same for whoever goes on with it."""
    return f"auto-{run.run_id}"


class Retraining:
    """Starts retrainings, for a person and for autopilot alike, and takes their steps.

    Args:
        settings: the policy, deadlines and number of trials of a retraining (`autopilot`).
        client, keys: where the run in progress and the slots are kept.
        jobs: Ray's jobs API.
        trial: tests models where the policy is `experiment`; None for whoever only starts retrainings.
    """

    def __init__(
        self, settings: Settings, client: StoreClient, keys: Keys, jobs: RayJobs, trial: ModelTrial | None = None
    ) -> None:
        self._limits = settings.autopilot
        self._client = client
        self._keys = keys
        self._jobs = jobs
        self._trial = trial

    async def start(self, trigger: Trigger, reason: str, who: str | None = None) -> Run:
        """Claim the one place, then submit the job.

        Args:
            who: asks for it; None for a person without a name, or autopilot, as the trigger tells.

        Raises:
            ApiError: 409 with the id of the retraining that runs already; 503 Ray's jobs API does not answer. In the
                latter case the run stays claimed, and autopilot submits it as soon as Ray answers.
            StoreError: nothing was started.
        """
        await self._refuse_second()
        state = await read_state(self._client, self._keys)
        limits = self._limits
        champion = state.serving(CHAMPION)
        run = new_run(trigger, reason, limits.policy, limits.job_deadline_s, champion, state.version, who)
        asked = entry("retraining", f"asked for ({trigger}): {reason}", run.run_id)
        holder = await begin_run(self._client, self._keys, run, asked)
        if holder is not None:
            raise _taken(holder.run_id, f"it is {holder.state}")
        try:
            return await self._submit_job(run)
        except JobsError as error:
            message = f"{error}; {run.run_id} is kept and submitted as soon as it answers"
            raise ApiError(503, "jobs_unavailable", message, retry_after_s=5) from error

    async def advance(self, run: Run) -> Outcome | None:
        """Take the run's next step, if it is time. Returns how the run ended, if this step ended it.

        Raises:
            JobsError: Ray's jobs API does not answer; the next call takes the step.
            StoreError: the store does not answer; the next call takes the step.
        """
        match run.state:
            case "submitting":
                return await self._submit(run)
            case "training":
                return await self._follow_job(run)
            case "judging":
                return await self._judge(run)
            case "testing":
                return await self._test(run)
            case "ended":
                return None

    async def _refuse_second(self) -> None:
        run = await read_run(self._client, self._keys)
        if run is not None:
            raise _taken(run.run_id, f"it is {run.state}")
        try:
            running = [job for job in await self._jobs.list() if job.retrains and job.running]
        except JobsError as error:
            raise ApiError(503, "jobs_unavailable", str(error), retry_after_s=5) from error
        if running:
            raise _taken(running[0].job_id, "it was submitted by hand")

    # submitting

    async def _submit(self, run: Run) -> Outcome | None:
        if now_ms() > run.deadline_ms:
            return await self._end(run, "failed", "Ray's jobs API did not take it before its deadline")
        await self._submit_job(run)
        return None

    async def _submit_job(self, run: Run) -> Run:
        try:
            await self._jobs.submit(run.run_id, self._entrypoint(run), {"trigger": run.trigger})
        except JobExistsError:
            logger.info("%s had been submitted before", run.run_id)
        training = run.at("training")
        if not await self._move(run, training, entry("retraining", "submitted as a Ray job", run.run_id)):
            logger.info("%s was moved on by another replica", run.run_id)
        return training

    def _entrypoint(self, run: Run) -> str:
        slot = CHAMPION if run.policy == "gate" else "none"
        words = ["python", "-m", "jobs.retrain", "--run", run.run_id, "--slot", slot]
        words += ["--reason", f"{run.trigger}: {run.reason}", "--who", asker(run)]
        if self._limits.trials is not None:
            words += ["--trials", str(self._limits.trials)]
        return shlex.join(words)

    # training

    async def _follow_job(self, run: Run) -> Outcome | None:
        job = await self._jobs.read(run.run_id)
        result = await read_result(self._client, self._keys, run.run_id)
        if job is not None and job.running:
            if now_ms() <= run.deadline_ms:
                return None
            await self._jobs.stop(run.run_id)
            limit = (run.deadline_ms - run.requested_ms) / 1000
            return await self._end(run, "stopped", f"the job was stopped at its deadline of {limit:.0f} s")
        if result is not None:
            # Also where Ray was restarted and knows the job no more: what it published counts.
            judging = run.at("judging", challenger=result.version)
            line = entry("retraining", f"trained {result.version}; {result.reasons}", run.run_id, result.version)
            await self._move(run, judging, line)
            return None
        if job is None:
            return await self._end(run, "failed", "Ray knows of no such job (was it restarted?)")
        words = (job.message or "no message").strip().splitlines()[-1]
        return await self._end(run, "failed", f"the job ended as {job.status}: {words}")

    # judging

    async def _judge(self, run: Run) -> Outcome | None:
        result = await read_result(self._client, self._keys, run.run_id)
        if result is None:
            return await self._end(run, "failed", "what the job found is not in the store any more")
        if not result.passed:
            return await self._end(run, "not_promoted", f"the gate: {result.reasons}")
        if run.policy == "gate":
            if result.not_served is not None:
                return await self._end(run, "waiting", f"the gate: {result.reasons}; but {result.not_served}")
            return await self._end(run, "promoted", f"the gate: {result.reasons}")
        if run.policy == "manual":
            return await self._put_aside(run, result)
        problem = await self._tester.begin(run, result)
        if problem is None:
            testing = run.at("testing", experiment=trial_id(run))
            line = entry("experiment", f"{trial_id(run)} tests {result.version}", run.run_id, result.version)
            await self._move(run, testing, line)
        elif now_ms() - run.since_ms > TRIAL_START_MS:
            detail = f"{result.version} passed the gate, but no experiment could be started: {problem}"
            return await self._end(run, "waiting", detail)
        return None

    async def _put_aside(self, run: Run, result: RunResult) -> Outcome | None:
        """End the run with the new model in the challenger's slot, unless that is in use, or somebody has given it
        another model since the run began."""
        reason = f"{run.run_id} passed"

        def put(state: ServingState) -> ServingState:
            state.unmoved(CHALLENGER, run.seen)
            return with_slot(state, CHALLENGER, Slot(result.version, result.uri, now_ms(), reason), asker(run))

        aside = f"{result.version} is in the slot {CHALLENGER} and waits for a person to promote it"
        try:
            return await self._end(run, "waiting", aside, put)
        except StateConflictError as error:
            return await self._end(run, "waiting", f"{result.version} waits for a person to promote it: {error}")

    # testing

    async def _test(self, run: Run) -> Outcome | None:
        found = await self._tester.look(run)
        return None if found is None else await self._end(run, found.outcome, found.detail)

    @property
    def _tester(self) -> ModelTrial:
        if self._trial is None:
            raise RuntimeError("whoever takes the steps of a retraining needs a way to test models")
        return self._trial

    # every state

    async def _move(self, run: Run, after: Run, line: Entry, also: Also = unchanged) -> bool:
        """Write a transition and its line; False when somebody else has moved the run meanwhile."""
        if after.state not in TRANSITIONS[run.state]:
            raise ValueError(f"a retraining does not go from {run.state} to {after.state}")
        return await advance_run(self._client, self._keys, run, after, line, also)

    async def _end(self, run: Run, outcome: Outcome, detail: str, also: Also = unchanged) -> Outcome | None:
        """End the run. Returns None when somebody else has moved it meanwhile."""
        ended = run.at("ended", outcome=outcome, detail=detail, ended_ms=now_ms())
        words = f"{outcome.replace('_', ' ')}: {detail}"
        line = entry("retraining", words, run.run_id, run.challenger)
        return outcome if await self._move(run, ended, line, also) else None


def _taken(job_id: str, words: str) -> ApiError:
    message = f"{job_id} is in progress ({words}); one retraining at a time"
    return ApiError(409, "retraining_in_progress", message, job_id=job_id)
