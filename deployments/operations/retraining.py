"""Starting a retraining: who may, and how its job is named so that it cannot run twice."""

import logging
import shlex

from configs.settings import Settings
from deployments.http.errors import ApiError
from deployments.operations.ray_jobs import JobExistsError, JobsError, RayJobs
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.retraining_run import Run, Trigger, advance_run, begin_run, new_run, read_run
from features.serving.slots import CHAMPION, read_slots
from features.serving.timeline import entry

logger = logging.getLogger("ray.serve")


class Retraining:
    """Starts retrainings, for a person and for autopilot alike.

    Args:
        settings: of the platform.
        client, keys: of the online store.
        jobs: Ray's jobs API.
    """

    def __init__(self, settings: Settings, client: StoreClient, keys: Keys, jobs: RayJobs) -> None:
        self._settings = settings
        self._client = client
        self._keys = keys
        self._jobs = jobs

    async def start(self, trigger: Trigger, reason: str) -> Run:
        """Claim the one place, then submit the job.

        Raises:
            ApiError: 409 with the id of the retraining that runs already; 503 Ray's jobs API does not answer. In the
                latter case the run stays claimed, and autopilot submits it as soon as Ray answers.
            StoreError: nothing was started.
        """
        await self._refuse_second()
        champion = (await read_slots(self._client, self._keys)).get(CHAMPION)
        autopilot = self._settings.autopilot
        version = champion.version if champion else None
        run = new_run(trigger, reason, autopilot.policy, autopilot.job_deadline_s, version)
        holder = await begin_run(
            self._client, self._keys, run, entry("retraining", f"asked for ({trigger}): {reason}", run.run_id)
        )
        if holder is not None:
            raise _taken(holder.run_id, f"it is {holder.state}")
        try:
            return await self.submit(run)
        except JobsError as error:
            message = f"{error}; {run.run_id} is kept and submitted as soon as it answers"
            raise ApiError(503, "jobs_unavailable", message, retry_after_s=5) from error

    async def submit(self, run: Run) -> Run:
        """Submit the job of a claimed run. Safe to repeat: Ray takes an id once. Raises `JobsError`."""
        try:
            await self._jobs.submit(run.run_id, self.entrypoint(run), {"trigger": run.trigger})
        except JobExistsError:
            logger.info("%s had been submitted before", run.run_id)
        training = run.at("training")
        if not await advance_run(
            self._client, self._keys, run, training, entry("retraining", "submitted as a Ray job", run.run_id)
        ):
            logger.info("%s was moved on by another replica", run.run_id)
        return training

    def entrypoint(self, run: Run) -> str:
        """The command of the run's job."""
        slot = CHAMPION if run.policy == "gate" else "none"
        words = ["python", "-m", "jobs.retrain", "--run", run.run_id, "--slot", slot]
        words += ["--reason", f"{run.trigger}: {run.reason}"]
        if self._settings.autopilot.trials is not None:
            words += ["--trials", str(self._settings.autopilot.trials)]
        return shlex.join(words)

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


def _taken(job_id: str, words: str) -> ApiError:
    message = f"{job_id} is in progress ({words}); one retraining at a time"
    return ApiError(409, "retraining_in_progress", message, job_id=job_id)
