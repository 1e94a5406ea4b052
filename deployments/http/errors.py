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
from starlette.routing import Match

from data.fields.faults import first_fault
from data.fields.json_keys import marked, repeated_key, without_repeats, words_of
from data.fields.json_text import field_at_fault, shallow, shortened
from features.redis.errors import EventConflict, StorageFull, StoreBusy, StoreError, StoreFull

ROOM_RETRY_S = 30
"""After this time a client may ask again whether the disk has room."""
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
        allow: Sequence[str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = _writable(message)
        self.field = None if field is None else _writable(field)
        self.retry_after_s = retry_after_s
        self.job_id = job_id
        self.allow = allow

    def headers(self) -> dict[str, str]:
        """When to come back, and which methods an address takes, where the error says so."""
        headers = {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}
        if self.status == 408:  # the rest of the request may still come, and is no request of its own
            headers["connection"] = "close"
        return headers if self.allow is None else {**headers, "allow": ", ".join(sorted(self.allow))}

    def content(self) -> dict[str, str]:
        content = {"code": self.code, "message": self.message}
        if self.field is not None:
            content["field"] = self.field
        if self.job_id is not None:
            content["job_id"] = self.job_id
        return content

    def response(self) -> Response:
        return json_response({"error": self.content()}, self.status, self.headers())


def _writable(text: str) -> str:
    """The text with half characters as escapes: an answer that names what is wrong must be JSON itself."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def not_found(path: str) -> ApiError:
    """The 404 of an address that there is not. No address but `/` ends in a slash, and the words say so."""
    hint = (
        f"addresses end without a slash: {path.rstrip('/')}" if path.endswith("/") and path.strip("/") else "see /docs"
    )
    return ApiError(404, "not_found", f"there is no {path}; {hint}")


def method_not_allowed(method: str, allow: Sequence[str]) -> ApiError:
    words = f"{method} is not allowed here; use {' or '.join(sorted(allow))}"
    return ApiError(405, "method_not_allowed", words, allow=allow)


def invalid_field(message: str, field: str | None) -> ApiError:
    return ApiError(422, "invalid_field", message, field)


def store_error(error: Exception) -> ApiError:
    """The 503 that an error of the online store becomes; 409 where it is the event that is wrong.

    The errors of the store say whole sentences, so nothing is put in front of them.
    """
    if isinstance(error, EventConflict):
        return ApiError(409, "event_id_conflict", str(error), "event_id")
    if isinstance(error, StoreFull):
        return ApiError(503, "store_full", f"{error}; nothing was written", retry_after_s=5)
    if isinstance(error, StorageFull):
        return ApiError(503, "storage_full", str(error), retry_after_s=ROOM_RETRY_S)
    if isinstance(error, StoreBusy):
        return ApiError(503, "store_busy", str(error), retry_after_s=5)
    return ApiError(503, "store_unavailable", str(error), retry_after_s=1)


def parse_body(model: type[Model], body: bytes) -> Model:
    """Validate JSON text against a model; the first fault becomes the error, its field named."""
    try:
        found = model.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
    else:
        if (twice := _key_twice(body)) is not None:
            raise invalid_field(words_of(twice), twice)
        return found
    if faults[0]["type"] == "json_invalid":
        try:
            model.model_validate(parse_json(body))
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False)
        except ValueError:  # no JSON by any reading
            _, words = first_fault(faults)
            raise invalid_field(words, field_at_fault(body, model.model_fields)) from None
    raise validation_error(faults)


def _key_twice(body: bytes) -> str | None:
    try:
        content = orjson.loads(body)
    except ValueError:  # stricter than pydantic: then the look at every key decides
        content = None
    return None if without_repeats(body, content) else repeated_key(marked(body, content))


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
            return json.loads(shortened(body))
        except ValueError:
            raise error from None
        except RecursionError:
            try:
                return json.loads(shallow(shortened(body)))
            except (ValueError, RecursionError):
                raise error from None


def validation_error(errors: Sequence[Any]) -> ApiError:
    field, words = first_fault(errors)
    return invalid_field(words, field)


async def only_known_parameters(request: Request) -> None:
    """Refuse a query parameter that a route of the API does not take or that comes twice, as fields of bodies are."""
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
    given = [name for name, _ in request.query_params.multi_items()]
    for place, name in enumerate(given):
        if name not in takes and not (prefix and name.startswith(prefix)):
            known = f"; there are {', '.join(sorted(takes))}" if takes else ""
            raise invalid_field(f"unknown parameter {name!r}; leave it out{known}", name)
        if name in given[:place]:
            raise invalid_field(f"the parameter {name!r} stands twice; give it once", name)


def _allowed(app: FastAPI, request: Request) -> list[str]:
    """The methods that the routes of an address take together; the framework names those of the first alone."""

    def takes(method: str) -> bool:
        scope = {"type": "http", "method": method, "path": request.scope["path"], "root_path": ""}
        return any(route.matches(scope)[0] is Match.FULL for route in app.routes)

    if takes("OPTIONS"):  # a folder of files: it matches whatever the method, and is only read
        return ["GET", "HEAD"]
    found = [method for method in ("DELETE", "GET", "PATCH", "POST", "PUT") if takes(method)]
    return [*found, "HEAD"] if "GET" in found else found


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
        if error.status_code == 404:
            return not_found(request.url.path).response()
        if error.status_code == 405:
            return method_not_allowed(request.method, _allowed(app, request)).response()
        return ApiError(error.status_code, "http_error", str(error.detail)).response()

    async def on_unexpected(request: Request, error: Exception) -> Response:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return ApiError(500, "internal_error", "an unexpected error; the log of the replica has it").response()

    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(StoreError, on_store_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_unexpected)
