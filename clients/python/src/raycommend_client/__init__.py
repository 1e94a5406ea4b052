"""Client of Raycommend.

`Client` and `AsyncClient` have a method for each call, made from `calls.py`, and send it again where that helps
(`retrying.py`). `EventQueue` and `AsyncEventQueue` send events in the background; what they keep and decide is in
`event_buffer.py`. `models.py` is made from the server's OpenAPI document. All errors are in `errors.py`.
"""

from raycommend_client.async_client import AsyncClient
from raycommend_client.async_event_queue import AsyncEventQueue
from raycommend_client.client import Client
from raycommend_client.errors import (
    ApiError,
    Conflict,
    EventsNotDelivered,
    InvalidRequest,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    QueueFull,
    RateLimited,
    RaycommendError,
    RefusedEvent,
    ServerError,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from raycommend_client.event_buffer import QueueOptions
from raycommend_client.event_queue import EventQueue
from raycommend_client.events import Event
from raycommend_client.models import EventAnswer, EventRefusal, Filters, ItemEntry, RecommendAnswer
from raycommend_client.retrying import Retry

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncEventQueue",
    "Client",
    "Conflict",
    "Event",
    "EventAnswer",
    "EventQueue",
    "EventRefusal",
    "EventsNotDelivered",
    "Filters",
    "InvalidRequest",
    "ItemEntry",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "QueueFull",
    "QueueOptions",
    "RateLimited",
    "RaycommendError",
    "RecommendAnswer",
    "RefusedEvent",
    "Retry",
    "ServerError",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
]
