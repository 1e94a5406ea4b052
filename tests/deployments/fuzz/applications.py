"""The three applications as one, in this process: on a real store, with two small bundles."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from configs.groups.access import Security
from configs.settings import Settings, Store
from deployments.console.console import Console
from deployments.console.routes import console_api
from deployments.events.endpoints import events_endpoints
from deployments.events.ingestion import Ingestion
from deployments.http.asgi_app import EndpointApp
from deployments.operations.similar_items import Similar
from deployments.recommend.endpoints import recommend_endpoints
from deployments.recommend.ranking import Ranking
from deployments.recommend.retrieval import Retrieval
from features.redis.connection import connect
from features.redis.layout import keys_of
from features.serving.promotion import set_slot
from features.serving.slots import CHALLENGER, CHAMPION
from models.bundle.writing import write_bundle
from tests.deployments.access.gates import keyless
from tests.deployments.jobs_api import JobsApi
from tests.models.bundle.test_bundle import NOW_MS, contents, fields


@dataclass(frozen=True)
class Applications:
    """What answers, and what there is to ask for."""

    client: httpx.AsyncClient
    app: ASGIApp
    settings: Settings
    known: dict[str, str]
    """Parameter of an address -> a value that exists."""


@asynccontextmanager
async def applications(
    folder: Path, store: Store, jobs: JobsApi, security: Security | None = None
) -> AsyncIterator[Applications]:
    """All applications behind one gate: that of `security`, or without it the check of hosts and origins alone, as they
    serve without keys."""
    settings = Settings(
        state_dir=folder,
        store=store.model_dump(),
        serving={"deadline_s": 20},
        autopilot={"jobs_address": jobs.address},
        tracking={"uri": f"sqlite:///{folder}/none.db"},
        security=security or Security(),
    )
    opened, keys = connect(store, settings.store_url), keys_of(store)
    bundles = {
        slot: write_bundle(settings.bundles_dir, contents(seed), fields(seed=seed), NOW_MS + 1000 * seed)
        for seed, slot in enumerate((CHAMPION, CHALLENGER))
    }
    for slot, path in bundles.items():
        await set_slot(opened, keys, slot, path.name, str(path), "a test")
    retrievals = {slot: Retrieval(slot, settings) for slot in bundles}
    ranking = Ranking(settings, {slot: retrieval.retrieve for slot, retrieval in retrievals.items()})
    ingestion = Ingestion(settings)

    async def similar(item_id: bytes, n: int) -> Similar:
        return await retrievals[CHAMPION].similar(item_id, n)

    async def version(slot: str) -> str | None:
        return await retrievals[slot].version() if slot in retrievals else None

    async def hold(slot: str, seconds: float) -> None:
        await asyncio.sleep(seconds)

    console = Console(settings, similar, version, hold)
    started = [*retrievals.values(), ranking, ingestion, console]
    endpoints = [
        *recommend_endpoints(lambda: ranking, settings.serving),
        *events_endpoints(lambda: ingestion, settings.serving),
    ]
    hot = EndpointApp(endpoints, settings.serving.max_in_flight)
    behind = by_path(hot, console_api(lambda: console, settings.serving, endpoints))
    app = keyless(behind) if security is None else console.access.guarded(behind, console=True)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    try:
        for one in started:
            await one.start()
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
            known = {"item_id": "1", "user_id": "1", "slot": CHALLENGER, "version": bundles[CHAMPION].name}
            yield Applications(client, app, settings, known)
    finally:
        for one in started:
            await one.stop()
        await opened.aclose()


def by_path(hot: EndpointApp, rest: ASGIApp) -> ASGIApp:
    """The proxy's choice of an application."""
    own = ("/api/v1/recommend", "/api/v1/events")

    async def chosen(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        mine = scope["type"] == "http" and any(path == one or path.startswith(f"{one}/") for one in own)
        await (hot if mine else rest)(scope, receive, send)

    return chosen
