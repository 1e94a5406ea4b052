"""What the console's routes refuse, and in which words; with a console on a real store."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from configs.settings import Settings, Store
from deployments.console.console import Console
from deployments.console.routes import console_api
from deployments.operations.similar_items import Similar

pytestmark = pytest.mark.anyio


async def no_neighbours(item_id: bytes, n: int) -> Similar:
    return Similar(None, "str", False, [])


async def no_version(slot: str) -> str | None:
    return None


async def no_hold(slot: str, seconds: float) -> None:
    return None


@pytest.fixture
async def api(tmp_path: Path, store_settings: Store) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(
        state_dir=tmp_path, store=store_settings.model_dump(), tracking={"uri": f"sqlite:///{tmp_path}/none.db"}
    )
    console = Console(settings, no_neighbours, no_version, no_hold)
    await console.start()
    app = console_api(lambda: console, settings.serving)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as found:
        yield found
    await console._watch.stop()


@pytest.mark.parametrize(
    ("path", "status", "message", "field"),
    [
        ("/api/v1/items?shown=none", 422, "shown: should be 'all', 'recommendable' or 'hidden'", "shown"),
        ("/api/v1/items?cursor=x", 422, "cursor: give next_cursor of the page before, or leave it out", "cursor"),
        ("/api/v1/items?cursor=WzE0MDc5MDg4OTMsIFswLCAwXV0", 422,
         "cursor: belongs to a list with another query or filter; leave it out", "cursor"),
        ("/api/v1/users?cursor=é", 422, "cursor: give next_cursor of the page before, or leave it out", "cursor"),
        ("/api/v1/items?attribute.brand=x", 422, "attribute.brand: is not declared; declared are none",
         "attribute.brand"),
        ("/api/v1/items?query=a&limit=0", 422, "limit: should be greater than or equal to 1", "limit"),
        ("/api/v1/items?query=a&offset=10", 422,
         "unknown parameter 'offset'; leave it out; there are category, cursor, limit, query, shown", "offset"),
        ("/api/v1/trending?windows=1h", 422,
         "unknown parameter 'windows'; leave it out; there are category, limit, window", "windows"),
        ("/api/v1/categories?limit=1", 422, "unknown parameter 'limit'; leave it out", "limit"),
        ("/api/v1/models?page=2", 422, "unknown parameter 'page'; leave it out", "page"),
        ("/api/v1/experiments?page=2", 422, "unknown parameter 'page'; leave it out", "page"),
        ("/api/v1/mlops/timeline?max=2", 422, "unknown parameter 'max'; leave it out; there are limit", "max"),
        ("/api/v1/metrics/system?x=", 422, "unknown parameter 'x'; leave it out", "x"),
        ("/api/v1/users?name=x", 422, "unknown parameter 'name'; leave it out; there are cursor, limit, query", "name"),
        ("/api/v1/users/", 422, "user_id: must not be empty", "user_id"),
        ("/api/v1/users/nobody", 404, "no event of user 'nobody' is known", "user_id"),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_a_request_is_named(
    api: httpx.AsyncClient, path: str, status: int, message: str, field: str | None
) -> None:
    answer = await api.get(path)
    error = answer.json()["error"]
    assert (answer.status_code, error["message"], error.get("field")) == (status, message, field)


@pytest.mark.parametrize("path", ["/", "/health/live?probe=1", "/metrics?name[]=up", "/api/v1/items?query=a&limit=5"])
async def test_what_others_add_to_pages_and_metrics_is_no_fault(api: httpx.AsyncClient, path: str) -> None:
    assert (await api.get(path)).status_code == 200
