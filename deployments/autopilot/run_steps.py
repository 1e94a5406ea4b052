"""The steps of a retraining after it was asked for: submit, follow the job, judge, test. Each may be repeated."""

from configs.clock import now_ms
from deployments.autopilot.live_trial import LiveTrial, trial_id
from deployments.operations.ray_jobs import RayJobs
from deployments.operations.retraining import Retraining
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.retraining_run import Outcome, Run, RunResult, advance_run, read_result
from features.serving.slots import CHALLENGER, read_slots, set_slot
from features.serving.timeline import entry

TRIAL_START_MS = 300_000
"""How long it is tried to start the experiment of a new model."""


class RunSteps:
    """Moves a run on.

    Args:
        client, keys: of the online store.
        jobs: Ray's jobs API.
        retraining: submits jobs.
        trial: tests models with live traffic.
    """

    def __init__(
        self, client: StoreClient, keys: Keys, jobs: RayJobs, retraining: Retraining, trial: LiveTrial
    ) -> None:
        self._client = client
        self._keys = keys
        self._jobs = jobs
        self._retraining = retraining
        self._trial = trial

    async def advance(self, run: Run) -> Outcome | None:
        """Take the next step, if it is time. Returns how the run ended, if this step ended it.

        Raises:
            JobsError: Ray's jobs API does not answer; the next call takes the step.
            StoreError: likewise the store.
        """
        match run.state:
            case "submitting":
                if now_ms() > run.deadline_ms:
                    return await self._end(run, "failed", "Ray's jobs API did not take it before its deadline")
                await self._retraining.submit(run)
            case "training":
                return await self._follow_job(run)
            case "judging":
                return await self._judge(run)
            case "testing":
                found = await self._trial.look(run)
                return None if found is None else await self._end(run, found.outcome, found.detail)
            case "ended":
                pass
        return None

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
            await advance_run(self._client, self._keys, run, judging, line)
            return None
        if job is None:
            return await self._end(run, "failed", "Ray knows of no such job (was it restarted?)")
        words = (job.message or "no message").strip().splitlines()[-1]
        return await self._end(run, "failed", f"the job ended as {job.status}: {words}")

    async def _judge(self, run: Run) -> Outcome | None:
        result = await read_result(self._client, self._keys, run.run_id)
        if result is None:
            return await self._end(run, "failed", "what the job found is not in the store any more")
        if not result.passed:
            return await self._end(run, "not_promoted", f"the gate: {result.reasons}")
        if run.policy == "gate":
            return await self._end(run, "promoted", f"the gate: {result.reasons}")
        await self._put_aside(run, result)
        aside = f"{result.version} is in the slot {CHALLENGER}"
        if run.policy == "manual":
            return await self._end(run, "waiting", f"{aside} and waits for a person to promote it")
        problem = await self._trial.begin(run, result)
        if problem is None:
            testing = run.at("testing", experiment=trial_id(run))
            line = entry("experiment", f"{trial_id(run)} tests {result.version}", run.run_id, result.version)
            await advance_run(self._client, self._keys, run, testing, line)
        elif now_ms() - run.since_ms > TRIAL_START_MS:
            return await self._end(run, "waiting", f"{aside}, but no experiment could be started: {problem}")
        return None

    async def _put_aside(self, run: Run, result: RunResult) -> None:
        """Give the challenger's slot the new model, once."""
        slot = (await read_slots(self._client, self._keys)).get(CHALLENGER)
        if slot is None or slot.version != result.version:
            await set_slot(self._client, self._keys, CHALLENGER, result.version, result.uri, f"{run.run_id} passed")

    async def _end(self, run: Run, outcome: Outcome, detail: str) -> Outcome | None:
        """None when somebody else has moved the run on meanwhile."""
        ended = run.at("ended", outcome=outcome, detail=detail, ended_ms=now_ms())
        words = f"{outcome.replace('_', ' ')}: {detail}"
        line = entry("retraining", words, run.run_id, run.challenger)
        return outcome if await advance_run(self._client, self._keys, run, ended, line) else None
