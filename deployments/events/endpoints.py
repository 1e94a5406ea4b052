"""The endpoints of `events`, for their routes and for their part of the OpenAPI document."""

from collections.abc import Callable

from configs.settings import Serving
from deployments.access.caller import CURRENT, only_own
from deployments.events.ingestion import Ingestion, fallback_event_id
from deployments.http.asgi_app import ERRORS, Endpoint
from deployments.http.errors import parse_body
from deployments.http.schemas import BatchAnswer, BatchRequest, ErrorAnswer, EventAnswer
from features.recording.event_request import EventRequest


def events_endpoints(ingestion: Callable[[], Ingestion], serving: Serving) -> list[Endpoint]:
    """Endpoints of `events`. `ingestion` is called at request time: the document can be made without one."""

    async def record(body: bytes, request_id: str) -> bytes:
        request = parse_body(EventRequest, body)
        only_own(request.user_id, CURRENT.get())
        return await ingestion().record(request, request.event_id or fallback_event_id(request_id, body))

    async def record_batch(body: bytes, request_id: str) -> bytes:
        return await ingestion().record_batch(body, request_id, CURRENT.get())

    return [
        Endpoint(
            path="/api/v1/events",
            name="events",
            tag="events",
            summary="Record one event",
            request=EventRequest,
            response=EventAnswer,
            max_body_bytes=serving.max_body_bytes,
            answer=record,
            errors={
                **ERRORS,
                404: {"model": ErrorAnswer, "description": "Unknown item in a closed catalogue"},
                409: {"model": ErrorAnswer, "description": "The event_id names another event of this user"},
            },
        ),
        Endpoint(
            path="/api/v1/events/batch",
            name="events_batch",
            tag="events",
            summary="Record up to 1,000 events; each is accepted or refused on its own, by index",
            request=BatchRequest,
            response=BatchAnswer,
            max_body_bytes=serving.max_batch_bytes,
            answer=record_batch,
        ),
    ]
