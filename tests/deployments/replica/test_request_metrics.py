"""Counting in a replica, with a real store."""

from collections import Counter
from pathlib import Path

import httpx
import pytest

from configs.settings import Settings
from deployments.access.access import Access
from deployments.apps.asgi import endpoint_app, served_app
from deployments.http.api_keys import make_key
from deployments.http.errors import ApiError
from deployments.recommend.endpoints import recommend_endpoints
from deployments.recommend.ranking import Ranking
from deployments.replica.latency import counts_of, quantile_s
from deployments.replica.request_metrics import RecommendStages, RequestMetrics
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.telemetry.counters import read_telemetry
from tests.features.servers import Server

pytestmark = pytest.mark.anyio


async def test_two_replicas_and_a_restart_add_up(client: StoreClient, keys: Keys) -> None:
    before = RequestMetrics(client, keys, "ranking")
    other = RequestMetrics(client, keys, "ranking")
    for metrics, requests in ((before, 3), (other, 4)):
        for _ in range(requests):
            metrics.answered("recommend", 200, "")
            RecommendStages(metrics).total.observe(0.004)
        await metrics.flush()
        await metrics.flush()
    restarted = RequestMetrics(client, keys, "ranking")
    restarted.answered("recommend", 503, "overloaded")
    await restarted.flush()
    totals = (await read_telemetry(client, keys)).totals
    assert totals["requests:recommend:200"] == 7
    assert totals["requests:recommend:503"] == totals["errors:recommend:overloaded"] == 1
    assert totals["latency_us:total"] == 7 * 4000
    assert sum(counts_of(totals, "total")) == 7
    assert quantile_s(counts_of(totals, "total"), 0.5) == pytest.approx(0.004, rel=0.2)


async def test_a_store_that_is_away_gets_everything_once_it_is_back(
    impatient: StoreClient, keys: Keys, server: Server
) -> None:
    metrics = RequestMetrics(impatient, keys, "ranking")
    metrics.counts["cache_hits"] += 1
    await metrics.flush()
    server.pause()
    try:
        metrics.counts["cache_hits"] += 2
        await metrics.flush()  # it is not known whether this arrives
        metrics.counts["cache_hits"] += 4
        await metrics.flush()
    finally:
        server.resume()
    await metrics.flush()
    await metrics.flush()
    assert (await read_telemetry(impatient, keys)).totals == {"cache_hits": 7}


async def test_requests_that_the_keys_turn_away_are_counted(client: StoreClient, keys: Keys, tmp_path: Path) -> None:
    reader, reading = make_key("reader", ["recommend"], None)
    writer, writing = make_key("writer", ["events"], None)
    settings = Settings(state_dir=tmp_path, security={"keys": [reading, writing]})
    metrics = RequestMetrics(client, keys, "ranking")
    hot = endpoint_app(recommend_endpoints(nobody, settings.serving), settings, metrics)
    app = served_app(hot, Access(settings, client, keys), settings, metrics)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as http:
        for path, key, status in (
            ("/api/v1/recommend", None, 401),
            ("/api/v1/recommend", "rk_guess", 401),
            ("/api/v1/recommend", writer, 403),
            ("/api/v1/recommend", reader, 503),
            ("/api/v1/made-up", None, 401),
        ):
            headers = {"content-type": "application/json"}
            if key is not None:
                headers["authorization"] = f"Bearer {key}"
            assert (await http.post(path, headers=headers, content=b"no JSON")).status_code == status
    assert metrics.totals() == {
        "requests:recommend:401": 2, "errors:recommend:key_needed": 1, "errors:recommend:bad_key": 1,
        "requests:recommend:403": 1, "errors:recommend:scope_needed": 1,
        "requests:recommend:503": 1, "errors:recommend:model_unavailable": 1,
    }  # fmt: skip


async def test_pages_of_other_sites_are_counted_without_keys(client: StoreClient, keys: Keys, tmp_path: Path) -> None:
    metrics = RequestMetrics(client, keys, "ranking")
    settings = Settings(state_dir=tmp_path)
    hot = endpoint_app(recommend_endpoints(nobody, settings.serving), settings, metrics)
    app = served_app(hot, Access(settings, client, keys), settings, metrics)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        await http.post("/api/v1/recommend", headers={"sec-fetch-site": "cross-site"})
    assert metrics.totals() == {"requests:recommend:403": 1, "errors:recommend:cross_site": 1}


def nobody() -> Ranking:
    raise ApiError(503, "model_unavailable", "there is no replica behind these endpoints")


async def test_ray_gets_the_same_differences(client: StoreClient, keys: Keys) -> None:
    exported: Counter[str] = Counter()
    metrics = RequestMetrics(client, keys, "ranking")
    metrics.export_to(exported.update)
    for number in range(3):
        metrics.counts["events:click"] += number
        await metrics.flush()
    assert exported == {"events:click": 3}
