"""HTTP routes of the two busy applications, `recommend` and `events`.

The body is validated once, by pydantic-core straight from the bytes, and the answer's bytes are made once: FastAPI
routes and documents, nothing more.
"""

import uuid
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response

from configs.settings import Serving
from deployments.errors import install_error_handlers, parse_body, read_body
from deployments.ingestion import Ingestion, fallback_event_id
from deployments.ranking import Ranking
from deployments.schemas import BatchAnswer, ErrorAnswer, EventAnswer, EventRequest, RecommendAnswer, RecommendRequest

ERRORS: dict[int | str, dict[str, Any]] = {
    413: {"model": ErrorAnswer, "description": "The body is too large"},
    422: {"model": ErrorAnswer, "description": "A field is wrong; the error names it"},
    503: {"model": ErrorAnswer, "description": "Overloaded, or the online store or the model is away; try again"},
    504: {"model": ErrorAnswer, "description": "No answer within the deadline"},
}


def body_of(schema: dict[str, Any]) -> dict[str, Any]:
    """The part of the OpenAPI document that describes a body which the endpoint reads by itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def recommend_api(ranking: Callable[[], Ranking], serving: Serving) -> FastAPI:
    """Routes of `recommend`. `ranking` is called at request time, so that the document can be made without one."""
    app = _new_app()

    @app.post(
        "/api/v1/recommend",
        tags=["recommend"],
        summary="Recommendations for a user",
        response_model=RecommendAnswer,
        responses=ERRORS,
        openapi_extra=body_of(reference(RecommendRequest.__name__)),
    )
    async def recommend(request: Request) -> Response:
        body = await read_body(request, serving.max_body_bytes)
        answer = await ranking().recommend(parse_body(RecommendRequest, body))
        return Response(answer, media_type="application/json")

    return app


def events_api(ingestion: Callable[[], Ingestion], serving: Serving) -> FastAPI:
    """Routes of `events`."""
    app = _new_app()

    @app.post(
        "/api/v1/events",
        tags=["events"],
        summary="Record one event",
        response_model=EventAnswer,
        responses={**ERRORS, 404: {"model": ErrorAnswer, "description": "Unknown item in a closed catalogue"}},
        openapi_extra=body_of(reference(EventRequest.__name__)),
    )
    async def record(request: Request) -> Response:
        body = await read_body(request, serving.max_body_bytes)
        event = parse_body(EventRequest, body)
        answer = await ingestion().record(event, fallback_event_id(_request_id(request), body))
        return Response(answer, media_type="application/json")

    @app.post(
        "/api/v1/events/batch",
        tags=["events"],
        summary="Record up to 1,000 events",
        description="Each event is accepted or refused on its own, by index.",
        response_model=BatchAnswer,
        responses=ERRORS,
        openapi_extra=body_of(
            {
                "type": "object",
                "required": ["events"],
                "properties": {"events": {"type": "array", "maxItems": 1000, "items": reference("EventRequest")}},
            }
        ),
    )
    async def record_batch(request: Request) -> Response:
        body = await read_body(request, serving.max_batch_bytes)
        answer = await ingestion().record_batch(body, _request_id(request))
        return Response(answer, media_type="application/json")

    return app


def _new_app() -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    install_error_handlers(app)
    return app


def _request_id(request: Request) -> str:
    """The first one: the client's own if it sent one, else the one that the proxy gives every try of a request."""
    return request.headers.get("x-request-id") or uuid.uuid4().hex
