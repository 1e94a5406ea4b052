"""HTTP routes of items, users and the catalogue's schema."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel

from configs.settings import Serving
from deployments.catalogue.answers import (
    CatalogueView,
    DailyCounts,
    ErasedView,
    FoundItems,
    FoundUsers,
    ItemBatchAnswer,
    ItemView,
    SimilarAnswer,
    TrendingAnswer,
    UserView,
)
from deployments.catalogue.items import Items
from deployments.catalogue.search import Search, Shown
from deployments.catalogue.users import Users
from deployments.http.asgi_app import ERRORS, read_body
from deployments.http.encoded_slashes import register_id_paths
from deployments.http.errors import known_parameters_and, method_not_allowed, only_known_parameters, parse_body
from deployments.http.openapi import json_body
from deployments.http.schemas import ErrorAnswer, checked_id
from features.items.item_request import ItemBatchRequest, ItemRequest, UserRequest

BODIES: tuple[type[BaseModel], ...] = (ItemRequest, ItemBatchRequest, UserRequest)
ATTRIBUTE = "attribute."
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer, "description": "There is none"}}
NOT_READING = ["DELETE", "OPTIONS", "PATCH", "POST", "PUT"]
Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before")]
_FILTERS = {
    "parameters": [
        {
            "name": f"{ATTRIBUTE}{{name}}",
            "in": "query",
            "schema": {"type": "string"},
            "description": "only items with this value of a declared attribute, as in `attribute.brand=x`: of a text "
            "its words, of keywords one of them; filters of several attributes must all hold",
        }
    ]
}


def catalogue_api(
    items: Callable[[], Items],
    users: Callable[[], Users],
    describe: Callable[[], Awaitable[CatalogueView]],
    serving: Serving,
) -> APIRouter:
    """The routes. The callbacks are called at request time, so that the document can be made without a console."""
    register_id_paths()
    router = APIRouter()
    checked = [Depends(only_known_parameters)]
    common: dict[str, Any] = {"dependencies": checked, "responses": ERRORS}
    may_miss: dict[str, Any] = {"dependencies": checked, "responses": NOT_FOUND | ERRORS}

    @router.get(
        "/api/v1/catalogue",
        **common,
        tags=["items"],
        summary="How many items and users there are, and what attributes",
    )
    async def catalogue() -> CatalogueView:
        return await describe()

    @router.get("/api/v1/users", **common, tags=["users"], summary="Users by the beginning of their id, page by page")
    async def find_users(
        query: Annotated[str, Query(max_length=200)] = "", limit: Limit = 50, cursor: Cursor = None
    ) -> FoundUsers:
        return await users().find(query, limit, cursor)

    # An id may hold slashes as they are, so these would be put or erased as ids that end in the word.
    @router.api_route("/api/v1/users/{_:id}/export", methods=NOT_READING, include_in_schema=False)
    @router.api_route("/api/v1/items/{_:id}/similar", methods=NOT_READING, include_in_schema=False)
    @router.api_route("/api/v1/items/{_:id}/daily", methods=NOT_READING, include_in_schema=False)
    async def only_read(request: Request) -> None:
        raise method_not_allowed(request.method, ["GET", "HEAD"])

    @router.get(
        "/api/v1/users/{user_id:id}/export",
        **may_miss,
        tags=["users"],
        summary="All that is kept of a user: attributes, features, events, exposures, experiments",
    )
    async def export(user_id: str) -> dict[str, Any]:
        return await users().export(checked_id(user_id, "user_id", stored=True))

    @router.delete(
        "/api/v1/users/{user_id:id}",
        **common,
        tags=["users"],
        summary="Erase a user from store, streams, log and exposures",
    )
    async def erase(user_id: str) -> ErasedView:
        return await users().erase(checked_id(user_id, "user_id", stored=True))

    @router.get("/api/v1/users/{user_id:id}", **may_miss, tags=["users"], summary="A user's features and attributes")
    async def user(user_id: str) -> UserView:
        return await users().user(checked_id(user_id, "user_id", stored=True))

    @router.put(
        "/api/v1/users/{user_id:id}",
        **common,
        tags=["users"],
        summary="Give a user attributes, instead of all before",
        openapi_extra=json_body(UserRequest),
    )
    async def put_user(user_id: str, request: Request) -> UserView:
        body = await read_body(request.scope, request.receive, serving.max_body_bytes)
        return await users().put(checked_id(user_id, "user_id"), parse_body(UserRequest, body))

    @router.post(
        "/api/v1/items/batch",
        **common,
        tags=["items"],
        summary="Add or replace up to 1,000 items, each accepted or refused on its own, by index",
        openapi_extra=json_body(ItemBatchRequest),
    )
    async def put_items(request: Request) -> ItemBatchAnswer:
        body = await read_body(request.scope, request.receive, serving.max_batch_bytes)
        return await items().put_batch(body)

    @router.get("/api/v1/items/{item_id:id}/similar", **may_miss, tags=["items"], summary="Items like this one")
    async def similar(item_id: str, limit: Limit = 10) -> SimilarAnswer:
        return await items().similar(item_id, limit)

    @router.get(
        "/api/v1/items/{item_id:id}/daily",
        **may_miss,
        tags=["items"],
        summary="What users did with an item, day by day",
        description="Counted from data set and log: an event is in it from the next compaction on. All events count, "
        "simulated ones too.",
    )
    async def daily(item_id: str, days: Annotated[int, Query(ge=1, le=366)] = 28) -> DailyCounts:
        return await items().daily(item_id, days)

    @router.get("/api/v1/items/{item_id:id}", **may_miss, tags=["items"], summary="An item, live")
    async def item(item_id: str) -> ItemView:
        return await items().item(item_id)

    @router.put(
        "/api/v1/items/{item_id:id}",
        **common,
        tags=["items"],
        summary="Add or replace an item; it can be recommended at once",
        openapi_extra=json_body(ItemRequest),
    )
    async def put_item(item_id: str, request: Request) -> ItemView:
        body = await read_body(request.scope, request.receive, serving.max_body_bytes)
        return await items().put(checked_id(item_id, "item_id"), parse_body(ItemRequest, body))

    @router.delete("/api/v1/items/{item_id:id}", **may_miss, tags=["items"], summary="Never recommend it again")
    async def delete_item(item_id: str) -> dict[str, str]:
        await items().delete(item_id)
        return {"status": "deleted"}

    @router.get(
        "/api/v1/items",
        dependencies=[Depends(known_parameters_and(ATTRIBUTE))],
        responses=ERRORS,
        tags=["items"],
        summary="Items by the words of their title, by category and by attributes, page by page",
        openapi_extra=_FILTERS,
    )
    async def find_items(
        request: Request,
        query: Annotated[str, Query(max_length=200, description="words, each from its start; best match first")] = "",
        category: Annotated[str | None, Query(max_length=200)] = None,
        shown: Annotated[Shown, Query(description="hidden items too, or only what can be recommended, or not")] = "all",
        limit: Limit = 10,
        cursor: Cursor = None,
    ) -> FoundItems:
        given = [
            (name.removeprefix(ATTRIBUTE), text)
            for name, text in request.query_params.multi_items()
            if name.startswith(ATTRIBUTE)
        ]
        return await items().find(Search(query, category, items().filters(given), shown), limit, cursor)

    @router.get("/api/v1/categories", **common, tags=["items"], summary="Categories, and how many items are in each")
    async def categories() -> dict[str, int]:
        return items().categories()

    @router.get("/api/v1/trending", **common, tags=["items"], summary="What gains most interest now")
    async def trending(
        window: Literal["1h", "1d", "7d"] = "1d", category: str | None = None, limit: Limit = 20
    ) -> TrendingAnswer:
        return await items().trending(window, category, limit)

    return router
