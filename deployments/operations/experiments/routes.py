"""HTTP routes of experiments and of the rollout, part of the console's application."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from configs.settings import Serving
from deployments.http.asgi_app import ERRORS, read_body
from deployments.http.errors import ApiError, parse_body
from deployments.http.openapi import json_body
from deployments.http.schemas import ErrorAnswer
from deployments.operations.experiments.control import ExperimentControl
from deployments.operations.experiments.views import ResultsSummary, experiment_view, results_view, summary
from deployments.operations.timeline_author import author
from features.experiments.experiment import Definition, ExperimentError
from features.serving.serving_state import StateConflictError

_STATUS = {"missing": (404, "not_found"), "conflict": (409, "conflict"), "invalid": (422, "invalid_field")}
MISSING: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer, "description": "There is no such experiment"}}
CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"model": ErrorAnswer, "description": "Not possible now; the error says why"}
}


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StepRequest(_Asked):
    reason: str = Field("a person asked for it", min_length=1, max_length=500, description="written into the log")


class PromoteWinnerRequest(StepRequest):
    variant: str | None = Field(None, description="to promote instead of the decision's winner")


class RolloutRequest(StepRequest):
    share: float = Field(ge=0, le=1, allow_inf_nan=False, description="of all users; 0 ends the rollout")
    version: str | None = Field(None, description="to put into the challenger's slot first")


class RolloutAnswer(BaseModel):
    share: float
    version: str | None
    since_ms: int | None
    reason: str | None


BODIES: list[type[BaseModel]] = [Definition, StepRequest, PromoteWinnerRequest, RolloutRequest]
_OPTIONAL = {"requestBody": {**json_body(StepRequest)["requestBody"], "required": False}}


def experiments_api(
    control: Callable[[], ExperimentControl], serving: Serving, typed_user_id: Callable[[str], int | str]
) -> APIRouter:
    """The routes of experiments and of the rollout.

    Args:
        control: called at request time.
        typed_user_id: a user's id as the data set types it.
    """
    api = APIRouter(tags=["experiments"])

    async def body_of(request: Request) -> bytes:
        return await read_body(request.scope, request.receive, serving.max_body_bytes)

    async def reason_of(request: Request) -> str:
        body = await body_of(request)
        return (parse_body(StepRequest, body) if body.strip() else StepRequest()).reason

    @api.post(
        "/api/v1/experiments",
        summary="Define an experiment, as a draft",
        status_code=201,
        responses=CONFLICT | ERRORS,
        openapi_extra=json_body(Definition),
    )
    async def create(request: Request) -> dict[str, Any]:
        definition = parse_body(Definition, await body_of(request))
        with _errors():
            return experiment_view(await control().create(definition, author(request)))

    @api.get("/api/v1/experiments", summary="All experiments, the newest first", responses=ERRORS)
    async def all_of_them() -> dict[str, Any]:
        return {"experiments": [experiment_view(one) for one in await control().all()]}

    @api.get("/api/v1/experiments/{experiment}", summary="An experiment and its changes", responses=MISSING | ERRORS)
    async def one(experiment: str) -> dict[str, Any]:
        with _errors():
            found, changes = await control().one(experiment)
        return {**experiment_view(found), "changes": [change.model_dump() for change in changes]}

    @api.post(
        "/api/v1/experiments/{experiment}/start",
        summary="Start it, once the models that it compares are loaded",
        responses=MISSING | CONFLICT | ERRORS,
        openapi_extra=_OPTIONAL,
    )
    async def start(experiment: str, request: Request) -> dict[str, Any]:
        reason = await reason_of(request)
        with _errors():
            return experiment_view(await control().start(experiment, reason, author(request)))

    @api.post(
        "/api/v1/experiments/{experiment}/stop",
        summary="Stop it",
        responses=MISSING | CONFLICT | ERRORS,
        openapi_extra=_OPTIONAL,
    )
    async def stop(experiment: str, request: Request) -> dict[str, Any]:
        reason = await reason_of(request)
        with _errors():
            return experiment_view(await control().stop(experiment, reason, author(request)))

    @api.post(
        "/api/v1/experiments/{experiment}/archive",
        summary="Put it away; its results stay",
        responses=MISSING | CONFLICT | ERRORS,
        openapi_extra=_OPTIONAL,
    )
    async def archive(experiment: str, request: Request) -> dict[str, Any]:
        reason = await reason_of(request)
        with _errors():
            return experiment_view(await control().archive(experiment, reason, author(request)))

    @api.post(
        "/api/v1/experiments/{experiment}/promote",
        summary="Let the winner's version be the champion",
        responses=MISSING | CONFLICT | ERRORS,
        openapi_extra={"requestBody": {**json_body(PromoteWinnerRequest)["requestBody"], "required": False}},
    )
    async def promote(experiment: str, request: Request) -> dict[str, Any]:
        body = await body_of(request)
        asked = parse_body(PromoteWinnerRequest, body) if body.strip() else PromoteWinnerRequest()
        with _errors():
            done = await control().promote(experiment, asked.variant, asked.reason, author(request))
        return experiment_view(done)

    @api.get(
        "/api/v1/experiments/{experiment}/results",
        summary="Values, comparisons, health, power and decision, as of now",
        responses=MISSING | ERRORS,
    )
    async def results(experiment: str) -> dict[str, Any]:
        with _errors():
            return results_view(*await control().results.of(experiment))

    @api.get(
        "/api/v1/experiments/{experiment}/series",
        summary="A metric over time, for plots",
        responses=MISSING | ERRORS,
    )
    async def series(
        experiment: str, metric: str = "click_through", limit: Annotated[int, Query(ge=2, le=1000)] = 200
    ) -> dict[str, Any]:
        with _errors():
            points = await control().results.series(experiment, metric, limit)
        return {"experiment": experiment, "metric": metric, "points": points}

    @api.get(
        "/api/v1/experiments/{experiment}/users",
        summary="One row for each user, from the log, a page at a time",
        responses=MISSING | ERRORS,
    )
    async def users(
        experiment: str, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=10_000)] = 1000
    ) -> dict[str, Any]:
        with _errors():
            rows, following = await control().results.users(experiment, cursor, limit)
        typed = [{**row, "user_id": typed_user_id(row["user_id"])} for row in rows]
        return {"experiment": experiment, "users": typed, "next_cursor": following}

    @api.get(
        "/api/v1/mlops/ab-results",
        tags=["mlops"],
        summary="The latest experiment in brief: winner, rates, comparison, health, recommendation",
        responses=ERRORS,
    )
    @api.get("/api/v1/mlops/ab-results-demo", tags=["mlops"], summary="Older name of ab-results", responses=ERRORS)
    async def ab_results() -> ResultsSummary:
        latest = await control().results.latest()
        if latest is None:
            return summary(None, None)
        with _errors():
            return summary(*await control().results.of(latest.id))

    @api.post(
        "/api/v1/models/rollout",
        tags=["models"],
        summary="Give the challenger a share of the traffic without an experiment",
        responses=CONFLICT | ERRORS,
        openapi_extra=json_body(RolloutRequest),
    )
    async def roll_out(request: Request) -> RolloutAnswer:
        asked = parse_body(RolloutRequest, await body_of(request))
        with _errors():
            found = await control().roll_out(asked.share, asked.version, asked.reason, author(request))
        if found is None:
            return RolloutAnswer(share=0.0, version=None, since_ms=None, reason=None)
        return RolloutAnswer(**asdict(found))

    return api


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except ExperimentError as error:
        raise ApiError(*_STATUS[error.kind], str(error), error.field) from error
    except StateConflictError as error:
        raise ApiError(409, "conflict", str(error)) from error
