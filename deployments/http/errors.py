"""Errors of the HTTP interface: one form, the right status, the field named.

{"error": {"code": "invalid_field", "message": "...", "field": "top_k"}}
"""

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.exceptions import HTTPException

from data.fields.faults import first_fault
from features.redis.errors import EventConflict, StoreBusy, StoreError, StoreFull

logger = logging.getLogger("ray.serve")
Model = TypeVar("Model", bound=BaseModel)


class ApiError(Exception):
    """An answer other than 200: status, code, and the message that the client gets."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: str | None = None,
        retry_after_s: int | None = None,
        job_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s
        self.job_id = job_id

    def content(self) -> dict[str, str]:
        content = {"code": self.code, "message": self.message}
        if self.field is not None:
            content["field"] = self.field
        if self.job_id is not None:
            content["job_id"] = self.job_id
        return content

    def response(self) -> Response:
        headers = {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}
        return json_response({"error": self.content()}, self.status, headers)


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def invalid_field(message: str, field: str | None) -> ApiError:
    return ApiError(422, "invalid_field", message, field)


def store_error(error: Exception) -> ApiError:
    """The 503 that an error of the online store becomes; 409 where it is the event that is wrong."""
    if isinstance(error, EventConflict):
        return ApiError(409, "event_id_conflict", str(error), "event_id")
    if isinstance(error, StoreFull):
        return ApiError(503, "store_full", f"the online store is full, nothing was written: {error}", retry_after_s=5)
    if isinstance(error, StoreBusy):
        return ApiError(503, "store_busy", f"maintenance is at work, try again: {error}", retry_after_s=5)
    return ApiError(503, "store_unavailable", f"the online store does not answer: {error}", retry_after_s=1)


def parse_body(model: type[Model], body: bytes) -> Model:
    """Validate JSON text against a model; the first fault becomes the error, its field named."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
    if faults[0]["type"] == "json_invalid":
        try:
            model.model_validate(parse_json(body))
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False)
        except ValueError:
            pass  # no JSON by any reading
    raise validation_error(faults)


def parse_json(body: bytes) -> Any:
    """JSON text as values. What strict JSON cannot hold, half an emoji above all, is read too, so that the check of
    its field can refuse it by name.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return from_json(body)
    except ValueError as error:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise error from None


def validation_error(errors: Sequence[Any]) -> ApiError:
    field, words = first_fault(errors)
    return invalid_field(words, field)


async def only_known_parameters(request: Request) -> None:
    """Refuse a query parameter that a route of the API does not take, as unknown fields of bodies are refused."""
    _check_parameters(request, None)


def known_parameters_and(prefix: str) -> Callable[[Request], Awaitable[None]]:
    """The same for a route that also takes parameters whose names begin with `prefix`."""

    async def check(request: Request) -> None:
        _check_parameters(request, prefix)

    return check


def _check_parameters(request: Request, prefix: str | None) -> None:
    if not request.query_params or not request.url.path.startswith("/api/"):
        return  # Prometheus, say, may be told to send more to /metrics.
    takes = {field.alias for field in request.scope["route"].dependant.query_params}
    for name in request.query_params:
        if name not in takes and not (prefix and name.startswith(prefix)):
            known = f"; there are {', '.join(sorted(takes))}" if takes else ""
            raise invalid_field(f"unknown parameter {name!r}; leave it out{known}", name)


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of `app` take the common form."""

    async def on_api_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error.response()

    async def on_store_error(_: Request, error: Exception) -> Response:
        return store_error(error).response()

    async def on_invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        # The first part of a place says whether it is in the query or in the path; the rest names the field.
        found = [{**one, "loc": one["loc"][1:]} for one in error.errors()]
        return validation_error(found).response()

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        codes = {404: "not_found", 405: "method_not_allowed"}
        message = {404: f"there is no {request.url.path}; see /docs", 405: f"{request.method} is not allowed here"}
        return ApiError(
            error.status_code,
            codes.get(error.status_code, "http_error"),
            message.get(error.status_code, str(error.detail)),
        ).response()

    async def on_unexpected(request: Request, error: Exception) -> Response:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return ApiError(500, "internal_error", "an unexpected error; the log of the replica has it").response()

    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(StoreError, on_store_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_unexpected)
