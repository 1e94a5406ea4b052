"""HTTP routes of `console`: pages, health, users, items, models, and the document over all applications."""

from collections.abc import Callable, Sequence
from functools import cache

from fastapi import Depends, FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel

from configs.settings import Serving
from configs.versions.program import program_version
from deployments.access.routes import BODIES as ACCESS_BODIES
from deployments.access.routes import access_api
from deployments.catalogue.routes import BODIES as CATALOGUE_BODIES
from deployments.catalogue.routes import catalogue_api
from deployments.console.console import Console
from deployments.console.data_routes import data_api
from deployments.console.evaluation_view import evaluation_api
from deployments.console.page_files import page_routes
from deployments.console.snapshot import Snapshot
from deployments.http.asgi_app import Endpoint
from deployments.http.encoded_slashes import EncodedSlashes
from deployments.http.errors import install_error_handlers, only_known_parameters
from deployments.http.head_requests import HeadRequests
from deployments.http.openapi import merged_document
from deployments.operations.experiments.routes import BODIES as EXPERIMENT_BODIES
from deployments.operations.experiments.routes import experiments_api
from deployments.operations.health import Health
from deployments.operations.model_routes import BODIES as MODEL_BODIES
from deployments.operations.model_routes import models_routes
from deployments.operations.monitor_routes import RetrainRequest, operations_api


def console_api(console: Callable[[], Console], serving: Serving, elsewhere: Sequence[Endpoint] = ()) -> FastAPI:
    """Routes of `console`.

    Args:
        console: called at request time, so that the document can be made without one.
        elsewhere: endpoints of the other applications; the document describes them too.
    """
    # The pages under /docs come from the installed package: nothing is loaded from another host.
    app = FastAPIOffline(
        title="Raycommend", docs_url="/docs", redoc_url=None, static_url="/static/docs", redirect_slashes=False
    )
    install_error_handlers(app)
    app.add_middleware(EncodedSlashes)
    app.add_middleware(HeadRequests)
    checked = [Depends(only_known_parameters)]

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

    app.include_router(
        catalogue_api(
            lambda: console().items,
            lambda: console().users,
            lambda: console().describe(),
            serving,
        )
    )
    app.include_router(
        experiments_api(lambda: console().experiments, serving, lambda text: console().ids.user(text)),
        dependencies=checked,
    )
    app.include_router(operations_api(lambda: console().operations, serving), dependencies=checked)
    app.include_router(data_api(lambda: console().data), dependencies=checked)
    app.include_router(evaluation_api(lambda: console().settings.state_dir), dependencies=checked)
    app.include_router(access_api(lambda: console().keys, serving), dependencies=checked)
    bodies: list[type[BaseModel]] = [
        *CATALOGUE_BODIES,
        RetrainRequest,
        *MODEL_BODIES,
        *EXPERIMENT_BODIES,
        *ACCESS_BODIES,
    ]
    # Made when it is first asked for: that takes as long as all routes together, and a replica is to start soon.
    app.openapi = cache(lambda: merged_document(app, bodies, elsewhere, program_version()))  # type: ignore[method-assign]
    return app
