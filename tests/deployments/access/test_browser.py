"""What browsers heed: headers on every answer, and no page of another origin unless it is named."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from configs.settings import Settings, Store
from deployments.access.access import Access
from deployments.access.browser import BrowserHeaders
from deployments.console.console import Console
from deployments.console.routes import console_api
from deployments.http.api_keys import make_key
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from tests.deployments.access.gates import app

pytestmark = pytest.mark.anyio
SHOP = "https://shop.example"


def _no_console() -> Console:
    raise RuntimeError("only the routes are asked")


def asking(settings: Settings, client: StoreClient, keys: Keys) -> tuple[httpx.AsyncClient, Access]:
    access = Access(settings, client, keys)
    behind = console_api(_no_console, settings.serving)
    transport = httpx.ASGITransport(access.guarded(behind, console=True), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost"), access


@pytest.fixture
async def http(
    store_settings: Store, tmp_path: Path, client: StoreClient, keys: Keys
) -> AsyncIterator[httpx.AsyncClient]:
    found, access = asking(Settings(store=store_settings, state_dir=tmp_path), client, keys)
    yield found
    await found.aclose()
    await access.aclose()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/docs", 200),
        ("/openapi.json", 200),
        ("/console/plotly.js", 200),
        ("/console/none.js", 404),
        ("/health/live", 200),
        ("/api/v1/none", 404),
        ("/api/v1/models", 500),
    ],
)
async def test_every_answer_says_how_a_browser_may_use_it(http: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await http.get(path)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert len(answer.headers.get_list("content-security-policy")) == 1
    assert not [name for name in answer.headers if name.startswith("access-control")]
    stored = answer.headers.get("cache-control")
    assert (stored == "no-store") == path.startswith("/api/")


async def test_a_policy_that_an_answer_has_is_left_alone(http: httpx.AsyncClient) -> None:
    policy = (await http.get("/")).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(BrowserHeaders(app)), base_url="http://here") as plain:
        assert (await plain.get("/api/v1/x")).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("with_keys", [False, True])
async def test_only_origins_that_are_named_may_ask(
    with_keys: bool, store_settings: Store, tmp_path: Path, client: StoreClient, keys: Keys
) -> None:
    key, kept = make_key("page", ["recommend"], None)
    security = {"cors_origins": [SHOP], "keys": [kept] if with_keys else []}
    found, access = asking(Settings(store=store_settings, state_dir=tmp_path, security=security), client, keys)
    async with found as http:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        allowed = await http.options("/api/v1/recommend", headers={"origin": SHOP, **asked})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == SHOP
        assert "POST" in allowed.headers["access-control-allow-methods"]
        assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
        assert "access-control-allow-credentials" not in allowed.headers
        for origin in ("https://evil.example", "https://shop.example.evil.example", "http://shop.example", "null"):
            refused = await http.options("/api/v1/recommend", headers={"origin": origin, **asked})
            assert refused.status_code >= 400
            assert "access-control-allow-origin" not in refused.headers
        bearer = {"authorization": f"Bearer {key}"} if with_keys else {}
        for origin, shown in ((SHOP, SHOP), ("https://evil.example", None)):
            answer = await http.get("/api/v1/none", headers={"origin": origin, **bearer})
            assert answer.headers.get("access-control-allow-origin") == shown
        changed = await http.delete("/api/v1/none", headers={"origin": SHOP, "sec-fetch-site": "cross-site", **bearer})
        assert changed.status_code == (403 if with_keys else 404)  # the key has no such scope; without keys it may
        # A page must be able to read why it was refused.
        assert changed.headers["access-control-allow-origin"] == SHOP
    await access.aclose()


@pytest.mark.parametrize("origin", ["*", "shop.example", "https://shop.example/", "https://Shop.example", "null"])
def test_an_origin_is_scheme_and_host(origin: str) -> None:
    with pytest.raises(ValidationError, match="origin"):
        Settings(security={"cors_origins": [origin]})
