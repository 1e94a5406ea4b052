"""HTTP routes of the data: what was imported, what was refused, what comes in."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query

from deployments.console.data_view import DataState, DataView, RecentEvents
from deployments.http.asgi_app import ERRORS


def data_api(data: Callable[[], DataState]) -> APIRouter:
    """The routes. `data` is called at request time."""
    api = APIRouter(tags=["data"], responses=ERRORS)

    @api.get("/api/v1/data", summary="The data set, imports with their refused rows, growth and freshness")
    async def view() -> DataView:
        return await data().view()

    @api.get("/api/v1/data/events", summary="The newest events that are not yet in the log")
    async def recent(limit: Annotated[int, Query(ge=1, le=100)] = 30) -> RecentEvents:
        return await data().recent(limit)

    return api
