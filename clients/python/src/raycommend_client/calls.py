"""Each call of the interface as data: what is sent, and how the answer is read. Nothing here sends anything.

The two clients make their methods from these functions, so that both have the same ones.
"""

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter, ValidationError

from raycommend_client import models
from raycommend_client.errors import InvalidRequest, invalid
from raycommend_client.events import Event, with_ids

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)
_COUNTS: "TypeAdapter[dict[str, int]]" = TypeAdapter(dict[str, int])
_TEXTS: "TypeAdapter[dict[str, str]]" = TypeAdapter(dict[str, str])
_OBJECT: "TypeAdapter[dict[str, Any]]" = TypeAdapter(dict[str, Any])
_ANY: "TypeAdapter[Any]" = TypeAdapter(Any)


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request.

    Attributes:
        read: makes the answer of its bytes; raises pydantic's `ValidationError`.
        repeatable: sending it again does no harm, even where the first one was done and its answer was lost.
        answers: statuses that are an answer and no error.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    body: bytes | None = None
    params: dict[str, str] | None = None
    repeatable: bool = True
    answers: tuple[int, ...] = (200,)


def describe_as(send: Any, make: Callable[..., Any]) -> None:
    """Give a method of a client the name, the words and the parameters of the function that makes its call."""
    own = inspect.signature(make)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    send.__name__, send.__qualname__, send.__doc__ = make.__name__, make.__qualname__, make.__doc__
    send.__signature__ = own.replace(parameters=[itself, *own.parameters.values()], return_annotation=own.empty)


def recommend(
    user_id: int | str,
    *,
    top_k: int | None = None,
    exclude_seen: bool | None = None,
    context: dict[str, Any] | None = None,
    filters: models.Filters | None = None,
    diversity: float | None = None,
    force_variant: str | None = None,
    explain: bool | None = None,
    preview: bool | None = None,
) -> Call[models.RecommendAnswer]:
    """A list for a user. What is left out takes the server's default.

    A list that was made, but whose answer was lost on its way, counts as shown, and the list of the next try does too.
    """
    body = _model(models.RecommendRequest, locals())
    return Call("POST", "/api/v1/recommend", models.RecommendAnswer.model_validate_json, body)


def record_event(
    user_id: int | str,
    item_id: int | str,
    event_type: str,
    *,
    rating: float | None = None,
    value: float | None = None,
    timestamp: float | str | datetime | None = None,
    event_id: str | None = None,
    recommendation_id: str | None = None,
    context: dict[str, Any] | None = None,
) -> Call[models.EventAnswer]:
    """Record one event. Where it has no `event_id`, it gets one here: so it counts once however often it is sent."""
    [found] = with_ids([Event.of(**locals())])
    return Call("POST", "/api/v1/events", models.EventAnswer.model_validate_json, _json(found))


def record_events(events: Sequence[models.EventRequest]) -> Call[models.BatchAnswer]:
    """Record up to 1,000 events. Each is accepted or refused on its own: see `results`, in the order of the events.

    Those without an `event_id` get one here, so that each counts once however often the batch is sent.
    """
    body = _model(models.BatchRequest, {"events": with_ids(events)})
    return Call("POST", "/api/v1/events/batch", models.BatchAnswer.model_validate_json, body)


def similar(item_id: int | str, *, limit: int = 10) -> Call[models.SimilarAnswer]:
    """Items whose factors point the same way."""
    return _get(f"/api/v1/items/{_id(item_id)}/similar", models.SimilarAnswer, limit=limit)


def trending(
    *, window: Literal["1h", "1d", "7d"] = "1d", category: str | None = None, limit: int = 20
) -> Call[models.TrendingAnswer]:
    """What all users do now."""
    return _get("/api/v1/trending", models.TrendingAnswer, window=window, category=category, limit=limit)


def find_items(
    query: str = "",
    *,
    category: str | None = None,
    shown: Literal["all", "recommendable", "hidden"] = "all",
    attributes: dict[str, str] | None = None,
    limit: int = 10,
    cursor: str | None = None,
) -> Call[models.FoundItems]:
    """Items page by page; `next_cursor` of an answer is the `cursor` of the next page."""
    filters = {f"attribute.{name}": value for name, value in (attributes or {}).items()}
    given = {"query": query, "category": category, "shown": shown, "limit": limit, "cursor": cursor, **filters}
    return _get("/api/v1/items", models.FoundItems, **given)


def item(item_id: int | str) -> Call[models.ItemView]:
    """An item of the catalogue, with what all users did."""
    return _get(f"/api/v1/items/{_id(item_id)}", models.ItemView)


def put_item(
    item_id: int | str,
    title: str,
    *,
    categories: list[str] | None = None,
    year: int | None = None,
    hidden: bool = False,
    attributes: dict[str, Any] | None = None,
) -> Call[models.ItemView]:
    """Set an item, in place of all that was said of it before. It can be recommended at once."""
    given = {"title": title, "categories": categories, "year": year, "hidden": hidden, "attributes": attributes}
    body = _model(models.ItemRequest, given)
    return Call("PUT", f"/api/v1/items/{_id(item_id)}", models.ItemView.model_validate_json, body)


def put_items(items: Sequence[models.ItemEntry]) -> Call[models.ItemBatchAnswer]:
    """Set up to 1,000 items. Each is accepted or refused on its own: see `results`, in the order of the items."""
    body = _model(models.ItemBatchRequest, {"items": list(items)})
    return Call("POST", "/api/v1/items/batch", models.ItemBatchAnswer.model_validate_json, body)


def delete_item(item_id: int | str) -> Call[dict[str, str]]:
    """Take an item out: it is never recommended again."""
    return Call("DELETE", f"/api/v1/items/{_id(item_id)}", _TEXTS.validate_json)


def item_days(item_id: int | str, *, days: int = 28) -> Call[models.DailyCounts]:
    """Events of an item by day and type, up to its last one."""
    return _get(f"/api/v1/items/{_id(item_id)}/daily", models.DailyCounts, days=days)


def categories() -> Call[dict[str, int]]:
    """Categories, with the number of items that can be recommended."""
    return Call("GET", "/api/v1/categories", _COUNTS.validate_json)


def catalogue() -> Call[models.CatalogueView]:
    """How many items and users there are, and which attributes they may carry."""
    return _get("/api/v1/catalogue", models.CatalogueView)


def user(user_id: int | str) -> Call[models.UserView]:
    """What is known of a user."""
    return _get(f"/api/v1/users/{_id(user_id)}", models.UserView)


def put_user(user_id: int | str, attributes: dict[str, Any]) -> Call[models.UserView]:
    """Set a user's attributes, in place of all that the user had."""
    body = _model(models.UserRequest, {"attributes": attributes})
    return Call("PUT", f"/api/v1/users/{_id(user_id)}", models.UserView.model_validate_json, body)


def find_users(query: str = "", *, limit: int = 50, cursor: str | None = None) -> Call[models.FoundUsers]:
    """Users by the beginning of their id, page by page."""
    return _get("/api/v1/users", models.FoundUsers, query=query, limit=limit, cursor=cursor)


def export_user(user_id: int | str) -> Call[dict[str, Any]]:
    """All that is kept of a user."""
    return Call("GET", f"/api/v1/users/{_id(user_id)}/export", _OBJECT.validate_json)


def erase_user(user_id: int | str) -> Call[models.ErasedView]:
    """Erase a user from everything; the answer comes when that is done."""
    return Call("DELETE", f"/api/v1/users/{_id(user_id)}", models.ErasedView.model_validate_json)


def health() -> Call[models.Health]:
    """Every component. An answer also where the system is down: `status` says so."""
    return Call("GET", "/health", models.Health.model_validate_json, answers=(200, 503))


def request(
    method: str,
    path: str,
    *,
    json: Any = None,
    params: dict[str, Any] | None = None,
) -> Call[Any]:
    """Any address of the interface, its answer as plain values: what operators do has no calls of its own.

    A POST is sent again only where it surely was not done.
    """
    if not path.startswith("/"):
        raise InvalidRequest(
            422, "invalid_field", f"path: give it from the root, as /api/v1/models, not {path!r}", "path"
        )
    body = None if json is None else _encoded(json)
    successes = (200, 201, 202, 204)
    return Call(method, path, _values, body, _params(params or {}), method.upper() != "POST", successes)


def _values(content: bytes) -> Any:
    return _ANY.validate_json(content) if content else None


def _encoded(values: Any) -> bytes:
    try:
        return json.dumps(values, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidRequest(422, "invalid_field", f"json: {error}", "json") from None


def _get(path: str, answer: type[Model], **params: Any) -> Call[Model]:
    return Call("GET", path, answer.model_validate_json, params=_params(params))


def _params(given: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in given.items() if value is not None and value != ""}


def _model(model: type[BaseModel], given: dict[str, Any]) -> bytes:
    """The JSON text of a model. Raises InvalidRequest."""
    try:
        return _json(model(**{name: value for name, value in given.items() if value is not None}))
    except ValidationError as error:
        raise invalid(error) from None


def _json(found: BaseModel) -> bytes:
    return found.model_dump_json(exclude_none=True, exclude_unset=True).encode()


def _id(value: int | str) -> str:
    """An id as a part of an address. Raises InvalidRequest for one that would lead to another address."""
    text = str(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or not text or text in (".", ".."):
        words = f"id: give a whole number or a text that is not empty, not {value!r}"
        raise InvalidRequest(422, "invalid_field", words, "id")
    return quote(text, safe="")
