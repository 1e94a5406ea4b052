"""Without keys, no page of another site reaches any endpoint, of whichever application."""

import asyncio
import re

import httpx
import pytest

from configs.settings import Settings
from deployments.access.scopes import WHOAMI
from deployments.console.console import Console
from deployments.console.routes import console_api
from deployments.events.endpoints import events_endpoints
from deployments.events.ingestion import Ingestion
from deployments.http.asgi_app import EndpointApp
from deployments.recommend.endpoints import recommend_endpoints
from deployments.recommend.ranking import Ranking
from tests.deployments.access.gates import keyless


def reached() -> Console:
    raise AssertionError("the request came through")


def no_ranking() -> Ranking:
    raise AssertionError("the request came through")


def no_ingestion() -> Ingestion:
    raise AssertionError("the request came through")


def asked(headers: dict[str, str], only_changes: bool) -> dict[tuple[str, str], int]:
    """(method, path) -> status of every operation of the document, in the application that serves it."""
    settings = Settings()
    hot = [*recommend_endpoints(no_ranking, settings.serving), *events_endpoints(no_ingestion, settings.serving)]
    console = console_api(reached, settings.serving, hot)
    busy = keyless(EndpointApp(hot, max_in_flight=1))
    slow = keyless(console)
    found = {}

    async def ask() -> None:
        for path, methods in console.openapi()["paths"].items():
            app = busy if path in [endpoint.path for endpoint in hot] else slow
            address = path.format_map(dict.fromkeys(re.findall(r"{(\w+)", path), "1"))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000") as api:
                for method in methods:
                    if method != "get" or not only_changes:
                        found[method, path] = (await api.request(method, address, headers=headers)).status_code

    asyncio.run(ask())
    return found


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:3000", "null"])
def test_a_foreign_origin_changes_nothing(origin: str) -> None:
    statuses = asked({"origin": origin, "content-type": "application/json"}, only_changes=True)
    assert len(statuses) > 15
    assert ("post", "/api/v1/models/rollback") in statuses
    assert ("post", "/api/v1/events") in statuses
    assert set(statuses.values()) == {403}


def test_a_foreign_host_reads_nothing_either() -> None:
    statuses = asked({"host": "evil.example"}, only_changes=False)
    assert ("get", "/api/v1/users/{user_id}/export") in statuses
    assert set(statuses.values()) == {403}


def test_of_two_hosts_both_must_be_this_machine() -> None:
    async def ask() -> int:
        app = keyless(console_api(reached, Settings().serving))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
            return (await api.get(WHOAMI, headers=[("host", "localhost"), ("host", "evil.example")])).status_code

    assert asyncio.run(ask()) == 403
