"""HTTP routes of model versions."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from deployments.http.asgi_app import ERRORS, read_body
from deployments.http.errors import Model, parse_body
from deployments.http.openapi import json_body
from deployments.http.schemas import ErrorAnswer
from deployments.operations.model_versions import (
    ClearRequest,
    ModelsAnswer,
    ModelVersions,
    PromoteRequest,
    RollbackRequest,
    SlotChange,
)
from deployments.operations.timeline_author import author

_MAX_BODY_BYTES = 4096
_CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"model": ErrorAnswer, "description": "A slot is in use, or is not as the request expects; the error says why"}
}
_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer, "description": "There is no such version"}}
_NO_SLOT: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer, "description": "There is no such slot"}}
BODIES: tuple[type[BaseModel], ...] = (PromoteRequest, RollbackRequest, ClearRequest)
"""Bodies that the endpoints read by themselves, since they may be left out."""


def models_routes(models: Callable[[], ModelVersions]) -> APIRouter:
    """Routes under `/api/v1/models`. `models` is called at request time."""
    routes = APIRouter(prefix="/api/v1/models", tags=["models"])

    @routes.get("", summary="All versions, the slots, and what the registry knows", responses=ERRORS)
    async def all_versions() -> ModelsAnswer:
        return await models().answer()

    @routes.post(
        "/rollback",
        summary="Let the champion serve what it served before",
        responses=_CONFLICT | ERRORS,
        openapi_extra=_optional(RollbackRequest),
    )
    async def rollback(request: Request) -> SlotChange:
        return await models().rollback(await _body(RollbackRequest, request), author(request))

    @routes.post(
        "/{slot}/clear",
        summary="Let a challenger's slot serve nothing",
        responses=_NO_SLOT | _CONFLICT | ERRORS,
        openapi_extra=_optional(ClearRequest),
    )
    async def clear(slot: str, request: Request) -> SlotChange:
        return await models().clear(slot, await _body(ClearRequest, request), author(request))

    @routes.post(
        "/{version}/promote",
        summary="Let a slot serve a version; its bundle is verified first",
        responses=_UNKNOWN | _CONFLICT | ERRORS,
        openapi_extra=_optional(PromoteRequest),
    )
    async def promote(version: str, request: Request) -> SlotChange:
        return await models().promote(version, await _body(PromoteRequest, request), author(request))

    return routes


def _optional(model: type[BaseModel]) -> dict[str, Any]:
    described = json_body(model)
    described["requestBody"]["required"] = False
    return described


async def _body(model: type[Model], request: Request) -> Model:
    return parse_body(model, await read_body(request.scope, request.receive, _MAX_BODY_BYTES) or b"{}")
