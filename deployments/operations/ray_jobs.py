"""Ray's jobs API over HTTP, from inside a replica: submit, look, stop, read the log."""

import re
from collections.abc import Mapping
from typing import Any

import httpx
from pydantic import BaseModel, Field

from configs.settings import Settings, ray_token
from deployments.http import outgoing

TIMEOUT_S = 10.0
LOG_TAIL = 60
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_PROGRESS = re.compile(r"^\[ *(\d+) %\] +[\d.]+ s +(.*)$", re.MULTILINE)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}")


class JobsError(RuntimeError):
    """Ray's jobs API does not answer, or refuses; the message says why."""


class JobExistsError(JobsError):
    """There is a job of that id already."""


class Job(BaseModel):
    """A Ray job.

    `progress` and `step` come from the job's own log, for jobs that report percentages there.
    """

    job_id: str
    entrypoint: str
    status: str = Field(description="PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED")
    message: str | None
    started_ms: int | None
    ended_ms: int | None
    metadata: dict[str, str] = Field(default_factory=dict)

    @property
    def running(self) -> bool:
        return self.status not in ENDED

    @property
    def retrains(self) -> bool:
        return "jobs.retrain" in self.entrypoint


class JobDetail(Job):
    """A Ray job with what it says of itself."""

    progress: int | None = Field(None, description="percent done, as the job last reported")
    step: str | None = Field(None, description="what it last reported")
    log_tail: list[str] = Field(description=f"the last {LOG_TAIL} lines of its log")


class RayJobs:
    """A client of the jobs API with the stack's token.

    Args:
        settings: the address of the dashboard, and where the token is.
    """

    def __init__(self, settings: Settings) -> None:
        self._address = settings.autopilot.jobs_address or f"http://127.0.0.1:{settings.ports.dashboard}"
        self._settings = settings

    async def submit(self, job_id: str, entrypoint: str, metadata: Mapping[str, str]) -> None:
        """Start a command as a job. Raises `JobExistsError`, `JobsError`."""
        content: dict[str, Any] = {"submission_id": job_id, "entrypoint": entrypoint, "metadata": dict(metadata)}
        if self._settings.autopilot.job_cpus:
            content["entrypoint_num_cpus"] = self._settings.autopilot.job_cpus
        try:
            await self._ask("POST", "/api/jobs/", content)
        except JobsError as error:
            if "already exists" in str(error):
                raise JobExistsError(str(error)) from error
            raise

    async def list(self) -> list[Job]:
        """All submitted jobs that Ray remembers, newest first. Raises `JobsError`."""
        found = await self._ask("GET", "/api/jobs/")
        jobs = [_job(one) for one in found if one.get("submission_id")]
        return sorted(jobs, key=lambda job: -(job.started_ms or 0))

    async def read(self, job_id: str) -> Job | None:
        """One job; None where there is none. Raises `JobsError`."""
        if not _ID.fullmatch(job_id):
            return None  # it would become part of an address, and ask Ray for something else
        found = await self._ask("GET", f"/api/jobs/{job_id}", missing_ok=True)
        return None if found is None else _job(found)

    async def detail(self, job_id: str) -> JobDetail | None:
        """One job with its progress and the end of its log; None where there is none. Raises `JobsError`."""
        job = await self.read(job_id)
        if job is None:
            return None
        found = await self._ask("GET", f"/api/jobs/{job_id}/logs", missing_ok=True)
        text: str = (found or {}).get("logs") or ""
        progress, step = parse_progress(text)
        return JobDetail(**job.model_dump(), progress=progress, step=step, log_tail=text.splitlines()[-LOG_TAIL:])

    async def stop(self, job_id: str) -> None:
        """Ask Ray to end a job. Raises `JobsError`."""
        await self._ask("POST", f"/api/jobs/{job_id}/stop")

    async def _ask(self, method: str, path: str, content: Any = None, missing_ok: bool = False) -> Any:
        token = ray_token(self._settings)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            async with outgoing.client(TIMEOUT_S) as http:
                answer = await http.request(method, f"{self._address}{path}", headers=headers, json=content)
        except httpx.HTTPError as error:
            raise JobsError(f"Ray's jobs API at {self._address} does not answer: {error!r}") from error
        if answer.status_code == 404 and missing_ok:
            return None
        if not answer.is_success:
            raise JobsError(f"Ray's jobs API answers {answer.status_code}: {answer.text.strip()[-500:]}")
        return answer.json()


def parse_progress(log: str) -> tuple[int | None, str | None]:
    """The last `[ 72 %]  12.1 s  text` of a log, as percent and text."""
    last = None
    for last in _PROGRESS.finditer(log):  # noqa: B007 - the last one is wanted
        pass
    return (None, None) if last is None else (int(last[1]), last[2])


def _job(found: Mapping[str, Any]) -> Job:
    return Job(
        job_id=found["submission_id"],
        entrypoint=found["entrypoint"],
        status=found["status"],
        message=found.get("message"),
        started_ms=found.get("start_time"),
        ended_ms=found.get("end_time"),
        metadata=found.get("metadata") or {},
    )
