"""HTTP routes of monitoring and retraining, part of the console's application."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from configs import clock
from configs.settings import Serving, Settings
from deployments.http.asgi_app import ERRORS, read_body
from deployments.http.errors import ApiError, parse_body
from deployments.http.openapi import json_body
from deployments.http.schemas import ErrorAnswer, iso_time
from deployments.operations.monitor import Monitor
from deployments.operations.monitor_views import DashboardMetrics, ModelMetrics, SystemMetrics
from deployments.operations.prometheus_text import CONTENT_TYPE, prometheus_text
from deployments.operations.ray_jobs import Job, JobDetail, JobsError, RayJobs
from deployments.operations.retraining import Retraining
from deployments.operations.timeline_author import author
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.timeline import Entry, read_timeline


class RetrainRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: str = Field("a person asked for it", min_length=1, max_length=500, description="written beside decisions")


class RetrainAnswer(BaseModel):
    job_id: str = Field(description="of the Ray job")
    status: str
    policy: str = Field(description="what may promote the model: manual, gate or experiment")


class JobsAnswer(BaseModel):
    jobs: list[Job]


class TimelineAnswer(BaseModel):
    entries: list[Entry]
    last_update: str


class Operations:
    """What the routes need. Each replica of the console makes it once."""

    def __init__(self, settings: Settings, client: StoreClient, keys: Keys) -> None:
        self.settings = settings
        self.client = client
        self.keys = keys
        self.monitor = Monitor(settings, client, keys)
        self.jobs = RayJobs(settings)
        self.retraining = Retraining(settings, client, keys, self.jobs)


def operations_api(operations: Callable[[], Operations], serving: Serving) -> APIRouter:
    """The routes of monitoring and retraining. `operations` is called at request time."""
    api = APIRouter()
    conflict: dict[int | str, dict[str, Any]] = {
        409: {"model": ErrorAnswer, "description": "A retraining is in progress; the error has its id"}
    }
    missing: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer, "description": "There is none"}}

    @api.get("/api/v1/metrics/dashboard", tags=["metrics"], summary="The whole at a glance", responses=ERRORS)
    async def dashboard() -> DashboardMetrics:
        return await operations().monitor.dashboard()

    @api.get("/api/v1/metrics/system", tags=["metrics"], summary="Requests, latencies, streams", responses=ERRORS)
    async def system() -> SystemMetrics:
        return await operations().monitor.system()

    @api.get("/api/v1/metrics/model", tags=["metrics"], summary="Models, live quality, drift", responses=ERRORS)
    async def model() -> ModelMetrics:
        return await operations().monitor.model()

    @api.get("/metrics", tags=["metrics"], summary="All numbers for Prometheus", response_class=Response)
    async def prometheus() -> Response:
        found = operations()
        text = prometheus_text(await found.monitor.observe(), found.settings.autopilot.new_events)
        return Response(text, media_type=CONTENT_TYPE)

    @api.post(
        "/api/v1/mlops/trigger-retrain",
        tags=["mlops"],
        summary="Retrain now, as a Ray job",
        status_code=202,
        responses=conflict | ERRORS,
        openapi_extra={"requestBody": {**json_body(RetrainRequest)["requestBody"], "required": False}},
    )
    async def trigger_retrain(request: Request) -> RetrainAnswer:
        body = await read_body(request.scope, request.receive, serving.max_body_bytes)
        asked = parse_body(RetrainRequest, body) if body.strip() else RetrainRequest()
        run = await operations().retraining.start("person", asked.reason, author(request))
        operations().monitor.forget()
        return RetrainAnswer(job_id=run.run_id, status=run.state, policy=run.policy)

    @api.get("/api/v1/mlops/jobs", tags=["mlops"], summary="Ray jobs, newest first", responses=ERRORS)
    async def jobs() -> JobsAnswer:
        with _jobs_errors():
            return JobsAnswer(jobs=await operations().jobs.list())

    @api.get(
        "/api/v1/mlops/jobs/{job_id}",
        tags=["mlops"],
        summary="A Ray job: state, progress, end of its log",
        responses=missing | ERRORS,
    )
    async def job(job_id: str) -> JobDetail:
        with _jobs_errors():
            found = await operations().jobs.detail(job_id)
        if found is None:
            raise ApiError(404, "not_found", f"there is no job {job_id!r}", "job_id")
        return found

    @api.get(
        "/api/v1/mlops/timeline", tags=["mlops"], summary="What was noticed and decided, with reasons", responses=ERRORS
    )
    async def timeline(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> TimelineAnswer:
        found = operations()
        entries = await read_timeline(found.client, found.keys, limit)
        return TimelineAnswer(entries=entries, last_update=iso_time(clock.now_ms()))

    return api


@contextmanager
def _jobs_errors() -> Iterator[None]:
    try:
        yield
    except JobsError as error:
        raise ApiError(503, "jobs_unavailable", str(error), retry_after_s=5) from error
