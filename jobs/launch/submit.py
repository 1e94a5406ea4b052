"""`python -m jobs.submit [--no-wait] -- python -m jobs.retrain ...`: submit a job to the Ray cluster and follow it.

The cluster's processes have the project on their path and the settings in their environment, so nothing is uploaded.
"""

import argparse
import asyncio
import logging
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from configs.settings import Settings, SettingsError, load_settings, ray_token

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_POLL_S = 0.3


class SubmitError(RuntimeError):
    """The cluster cannot be reached, or refuses the job."""


def job_client(settings: Settings) -> "JobSubmissionClient":
    """A client of the jobs API, with the stack's token.

    Raises:
        SubmitError: nobody answers, or the token is not the cluster's.
    """
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
    address = settings.autopilot.jobs_address or f"http://127.0.0.1:{settings.ports.dashboard}"
    token = ray_token(settings)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        return JobSubmissionClient(address, headers=headers)
    except (ConnectionError, RuntimeError) as error:
        raise SubmitError(f"no Ray cluster answers at {address}: {error}") from error


def submit_job(settings: Settings, entrypoint: Sequence[str], metadata: Mapping[str, str] | None = None) -> str:
    """Submit a command. Returns the job's id; raises `SubmitError`."""
    try:
        return job_client(settings).submit_job(
            entrypoint=shlex.join(entrypoint),
            metadata=dict(metadata or {}),
            entrypoint_num_cpus=settings.autopilot.job_cpus or None,
        )
    except RuntimeError as error:
        raise SubmitError(str(error)) from error


def follow_job(settings: Settings, job_id: str) -> str:
    """Print the job's log as it grows. Returns how it ended: SUCCEEDED, FAILED or STOPPED."""
    client = job_client(settings)

    async def tail() -> None:
        async for lines in client.tail_job_logs(job_id):
            print(lines, end="", flush=True)

    asyncio.run(tail())
    while not (status := client.get_job_status(job_id)).is_terminal():
        time.sleep(_POLL_S)
    if status.value != "SUCCEEDED":
        print(f"job {job_id} {status.value.lower()}: {client.get_job_info(job_id).message}", file=sys.stderr)
    return status.value


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit code is 0 where the job succeeded (or was submitted, with --no-wait)."""
    parser = argparse.ArgumentParser(prog="python -m jobs.submit", description=__doc__.split("\n")[0])
    parser.add_argument("--wait", action=argparse.BooleanOptionalAction, default=True, help="follow until it ends")
    parser.add_argument("command", nargs="+", help="after --, for example: python -m jobs.retrain --trials 4")
    given = parser.parse_args(arguments)
    try:
        settings = load_settings()
        job_id = submit_job(settings, given.command, {"submitted_by": "jobs.submit"})
        print(f"job {job_id}: {shlex.join(given.command)}", flush=True)
        if not given.wait:
            return 0
        return 0 if follow_job(settings, job_id) == "SUCCEEDED" else 1
    except (SubmitError, SettingsError) as error:
        print(f"submit: {error}", file=sys.stderr)
        return 1
