"""HTTP routes of `console`: pages, health, users, items, models, and the document over all applications."""

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel

from configs.settings import Serving
from deployments.console.console import Console, ErasedView, ItemView, UserView
from deployments.console.data_routes import data_api
from deployments.console.page_files import page_routes
from deployments.console.snapshot import Snapshot
from deployments.http.asgi_app import ERRORS, Endpoint, read_body
from deployments.http.encoded_slashes import EncodedSlashes, register_id_paths
from deployments.http.errors import install_error_handlers, only_known_parameters, parse_body
from deployments.http.openapi import json_body, merged_document
from deployments.http.schemas import ErrorAnswer, FoundItems, ItemRequest, SimilarAnswer, TrendingAnswer, checked_id
from deployments.operations.experiments.routes import BODIES as EXPERIMENT_BODIES
from deployments.operations.experiments.routes import experiments_api
from deployments.operations.health import Health
from deployments.operations.model_routes import BODIES as MODEL_BODIES
from deployments.operations.model_routes import models_routes
from deployments.operations.monitor_routes import RetrainRequest, operations_api

NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer, "description": "There is none"}}


def console_api(console: Callable[[], Console], serving: Serving, elsewhere: Sequence[Endpoint] = ()) -> FastAPI:
    """Routes of `console`.

    Args:
        console: called at request time, so that the document can be made without one.
        elsewhere: endpoints of the other applications; the document describes them too.
    """
    checked = [Depends(only_known_parameters)]
    # The pages under /docs come from the installed package: nothing is loaded from another host.
    app = FastAPIOffline(
        title="Raycommend",
        docs_url="/docs",
        redoc_url=None,
        static_url="/static/docs",
        redirect_slashes=False,
        dependencies=checked,
    )
    install_error_handlers(app)
    app.add_middleware(EncodedSlashes)
    register_id_paths()

    app.include_router(page_routes())
    app.include_router(models_routes(lambda: console().models), dependencies=checked)

    @app.get(
        "/api/v1/console/snapshot",
        dependencies=checked,
        tags=["console"],
        summary="All that the console shows each second; 304 while nothing has changed",
        response_model=Snapshot,
        responses={304: {"description": "As the tag in If-None-Match says"}},
    )
    async def snapshot(request: Request) -> Response:
        found = await console().snapshot.latest()
        headers = {"etag": found.etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == found.etag:
            return Response(None, 304, headers)
        return Response(found.content, 200, headers, media_type="application/json")

    @app.get("/health", tags=["health"], summary="Every component, asked now", responses={503: {"model": Health}})
    async def health(response: Response) -> Health:
        found = await console().health.check()
        response.status_code = 503 if found.status == "down" else 200
        return found

    @app.get("/health/live", tags=["health"], summary="The process answers")
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/health/ready", tags=["health"], summary="Recommendations and events can be served")
    async def ready(response: Response) -> dict[str, str]:
        found = await console().health.check()
        response.status_code = 503 if found.status == "down" else 200
        return {name: component.status for name, component in found.components.items()}

    @app.get(
        "/api/v1/users/{user_id:id}/export",
        dependencies=checked,
        tags=["users"],
        summary="All that is kept of a user: features, events, exposures, experiments",
        responses=NOT_FOUND | ERRORS,
    )
    async def export(user_id: str) -> dict[str, Any]:
        return await console().export_user(checked_id(user_id, "user_id", stored=True))

    @app.delete(
        "/api/v1/users/{user_id:id}",
        dependencies=checked,
        tags=["users"],
        summary="Erase a user from store, streams, log and exposures",
        responses=ERRORS,
    )
    async def erase(user_id: str) -> ErasedView:
        return await console().erase_user(checked_id(user_id, "user_id", stored=True))

    @app.get(
        "/api/v1/users/{user_id:id}",
        dependencies=checked,
        tags=["users"],
        summary="A user's features",
        responses=NOT_FOUND | ERRORS,
    )
    async def user(user_id: str) -> UserView:
        return await console().user(checked_id(user_id, "user_id", stored=True))

    @app.get(
        "/api/v1/items/{item_id:id}/similar",
        dependencies=checked,
        tags=["items"],
        summary="Items like this one",
        responses=NOT_FOUND | ERRORS,
    )
    async def similar(item_id: str, limit: Annotated[int, Query(ge=1, le=100)] = 10) -> SimilarAnswer:
        return await console().similar(item_id, limit)

    @app.get(
        "/api/v1/items/{item_id:id}",
        dependencies=checked,
        tags=["items"],
        summary="An item, live",
        responses=NOT_FOUND | ERRORS,
    )
    async def item(item_id: str) -> ItemView:
        return await console().item(item_id)

    @app.put(
        "/api/v1/items/{item_id:id}",
        dependencies=checked,
        tags=["items"],
        summary="Add or replace an item; it can be recommended at once",
        responses=ERRORS,
        openapi_extra=json_body(ItemRequest),
    )
    async def put_item(item_id: str, request: Request) -> ItemView:
        body = await read_body(request.scope, request.receive, serving.max_body_bytes)
        return await console().put_item(checked_id(item_id, "item_id"), parse_body(ItemRequest, body))

    @app.delete(
        "/api/v1/items/{item_id:id}",
        dependencies=checked,
        tags=["items"],
        summary="Never recommend it again",
        responses=NOT_FOUND | ERRORS,
    )
    async def delete_item(item_id: str) -> dict[str, str]:
        await console().delete_item(item_id)
        return {"status": "deleted"}

    @app.get(
        "/api/v1/items",
        dependencies=checked,
        tags=["items"],
        summary="Items by the words of their title",
        responses=ERRORS,
    )
    async def find_items(
        query: Annotated[str, Query(min_length=1, max_length=200)], limit: Annotated[int, Query(ge=1, le=100)] = 10
    ) -> FoundItems:
        return console().find_items(query, limit)

    @app.get(
        "/api/v1/categories", dependencies=checked, tags=["items"], summary="Categories, and how many items are in each"
    )
    async def categories() -> dict[str, int]:
        return console().categories()

    @app.get(
        "/api/v1/trending",
        dependencies=checked,
        tags=["items"],
        summary="What gains most interest now",
        responses=ERRORS,
    )
    async def trending(
        window: Literal["1h", "1d", "7d"] = "1d",
        category: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> TrendingAnswer:
        return await console().trending(window, category, limit)

    app.include_router(
        experiments_api(lambda: console().experiments, serving, lambda text: console().typed_user_id(text)),
        dependencies=checked,
    )
    app.include_router(operations_api(lambda: console().operations, serving), dependencies=checked)
    app.include_router(data_api(lambda: console().data), dependencies=checked)
    bodies: list[type[BaseModel]] = [ItemRequest, RetrainRequest, *MODEL_BODIES, *EXPERIMENT_BODIES]
    document = merged_document(app, bodies, elsewhere, _project_version())
    app.openapi = lambda: document  # type: ignore[method-assign]
    return app


def _project_version() -> str:
    try:
        return version("raycommend")
    except PackageNotFoundError:
        return "0"
