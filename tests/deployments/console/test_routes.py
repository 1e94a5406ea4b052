"""What the console's routes refuse, and in which words; with a console on a real store."""

import re
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
        ("/api/v1/items?query=a&query=b", 422, "the parameter 'query' stands twice; give it once", "query"),
        ("/api/v1/mlops/timeline?limit=2&limit=2", 422, "the parameter 'limit' stands twice; give it once", "limit"),
        ("/api/v1/users?name=x", 422, "unknown parameter 'name'; leave it out; there are cursor, limit, query", "name"),
        ("/api/v1/users/", 404, "there is no /api/v1/users/; addresses end without a slash: /api/v1/users", None),
        ("/api/v1/items/a%2Fb/", 404, "there is no /api/v1/items/a%2Fb/; addresses end without a slash: "
         "/api/v1/items/a%2Fb", None),
        ("/api/v1/items/a%2F", 404, "the catalogue does not list item 'a/'", "item_id"),
        ("/metrics/", 404, "there is no /metrics/; addresses end without a slash: /metrics", None),
        ("/docs/", 404, "there is no /docs/; addresses end without a slash: /docs", None),
        ("/static/docs/", 404, "there is no /static/docs/; addresses end without a slash: /static/docs", None),
        ("/console/", 404, "there is no /console/; addresses end without a slash: /console", None),
        ("/api/v1/users//export", 422, "user_id: must not be empty", "user_id"),
        ("/api/v1/users/nobody", 404, "no event of user 'nobody' is known", "user_id"),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_a_request_is_named(
    api: httpx.AsyncClient, path: str, status: int, message: str, field: str | None
) -> None:
    answer = await api.get(path)
    error = answer.json()["error"]
    assert (answer.status_code, error["message"], error.get("field")) == (status, message, field)


@pytest.mark.parametrize("path", ["/", "/health/live", "/docs", "/openapi.json", "/api/v1/items?query=a&limit=5"])
async def test_what_is_asked_for_as_it_should_be_is_answered(api: httpx.AsyncClient, path: str) -> None:
    assert (await api.get(path)).status_code == 200


async def test_head_is_answered_wherever_get_is_with_the_same_headers_and_no_body(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    read = [path for path, methods in document["paths"].items() if "get" in methods]
    paths = [path.format_map(dict.fromkeys(re.findall(r"{(\w+)", path), "1")) for path in read]
    assert len(paths) > 20
    for path in [
        *paths,
        "/",
        "/docs",
        "/openapi.json",
        "/console/plotly.js",
        "/static/docs/swagger-ui.css",
        "/nothing",
    ]:
        got, head = await api.get(path), await api.head(path)
        assert (head.status_code, head.headers.keys(), head.content) == (got.status_code, got.headers.keys(), b""), path
        assert int(head.headers["content-length"]) > 0, path


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/health", "GET, HEAD"),
        ("/", "GET, HEAD"),
        ("/api/v1/items/1", "DELETE, GET, HEAD, PUT"),
        ("/api/v1/items", "GET, HEAD"),
        ("/api/v1/models/rollback", "POST"),
        ("/static/docs/swagger-ui.css", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/console/plotly.js", "GET, HEAD"),
    ],
)
async def test_methods_that_an_address_does_not_take_are_told_which_it_takes(
    api: httpx.AsyncClient, path: str, allow: str
) -> None:
    for method in ("OPTIONS", "PATCH", "TRACE", "PROPFIND"):
        answer = await api.request(method, path)
        assert (answer.status_code, answer.headers.get("allow")) == (405, allow), method
        assert answer.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_every_endpoint_that_takes_a_body_takes_json_alone(api: httpx.AsyncClient, kind: str | None) -> None:
    document = (await api.get("/openapi.json")).json()
    asked = [
        (method, path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation
    ]
    assert len(asked) > 10
    for method, path in asked:
        address = path.format_map(dict.fromkeys(re.findall(r"{(\w+)", path), "1"))
        headers = {} if kind is None else {"content-type": kind}
        answer = await api.request(method, address, content=b"{}", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "json_needed"), (method, path)


@pytest.mark.parametrize(
    "path",
    ["/health/live%0A", "/api/v1/experiments/e1/users%0a", "/api/v1/items/a%1Fsimilar", "/%00", "/api/v1/users/a%7f"],
)
async def test_an_address_with_control_characters_is_none_of_those_without(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == "an address must not contain control characters"
