"""Counting in a replica, with a real store."""

from collections import Counter

import pytest

from deployments.latency import counts_of, quantile_s
from deployments.metrics import RecommendStages, RequestMetrics
from features.connection import StoreClient
from features.keys import Keys
from features.telemetry import read_telemetry
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
    client: StoreClient, keys: Keys, server: Server
) -> None:
    metrics = RequestMetrics(client, keys, "ranking")
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
    assert (await read_telemetry(client, keys)).totals == {"cache_hits": 7}


async def test_ray_gets_the_same_differences(client: StoreClient, keys: Keys) -> None:
    exported: Counter[str] = Counter()
    metrics = RequestMetrics(client, keys, "ranking")
    metrics.export_to(exported.update)
    for number in range(3):
        metrics.counts["events:click"] += number
        await metrics.flush()
    assert exported == {"events:click": 3}
