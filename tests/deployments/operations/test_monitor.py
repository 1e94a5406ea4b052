"""What the console says is true now, read from a real store."""

import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from configs import clock
from configs.settings import Settings, Store
from deployments.operations.monitor import Monitor
from deployments.operations.prometheus_text import prometheus_text
from deployments.replica.latency import BOUNDS_S
from deployments.replica.request_metrics import RecommendStages, RequestMetrics
from features.redis.connection import StoreClient
from features.redis.errors import StoreUnavailable
from features.redis.keys import Keys
from tests.features.servers import Server

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(tmp_path: Path, store_settings: Store) -> Settings:
    return Settings(state_dir=tmp_path, store=store_settings.model_dump())


async def test_what_is_not_known_is_null_and_not_zero(settings: Settings, client: StoreClient, keys: Keys) -> None:
    monitor = Monitor(settings, client, keys)
    dashboard = await monitor.dashboard()
    assert dashboard.requests_total == 0
    for unknown in ("uptime_s", "error_share", "cache_hit_rate", "model_version", "model_accuracy", "last_trained"):
        assert getattr(dashboard, unknown) is None, unknown
    assert dashboard.latency.n == 0
    assert dashboard.latency.mean_ms is dashboard.latency.p99_ms is None
    assert dashboard.learning.events_since_training is None
    assert dashboard.training_status == "idle"


async def test_what_the_keys_turn_away_is_no_part_of_the_error_share(
    settings: Settings, client: StoreClient, keys: Keys
) -> None:
    metrics = RequestMetrics(client, keys, "ranking")
    for status, times in ((401, 5_000), (403, 30), (429, 20), (200, 30), (503, 10)):
        for _ in range(times):
            metrics.answered("recommend", status, "" if status == 200 else "why")
    await metrics.flush()
    monitor = Monitor(settings, client, keys)
    dashboard = await monitor.dashboard()
    assert (dashboard.error_share, dashboard.requests_total) == (0.25, 5_090)
    found = (await monitor.system()).requests["recommend"]
    assert (found.error_share, found.total, found.by_code["401"]) == (0.25, 5_090, 5_000)


async def test_a_refused_event_counts_alone_as_in_a_batch(settings: Settings, client: StoreClient, keys: Keys) -> None:
    metrics = RequestMetrics(client, keys, "ingestion")
    refused = {"invalid_field": 422, "unknown_item": 404, "event_id_conflict": 409, "another_user": 403}
    for code, status in {**refused, "store_unavailable": 503, "overloaded": 503, "invalid_key": 401}.items():
        metrics.answered("events", status, code)
    metrics.counts["events_refused"] += 3
    await metrics.flush()
    dashboard = await Monitor(settings, client, keys).dashboard()
    assert dashboard.learning.refused_total == len(refused) + 3


async def test_rates_and_shares_over_two_replicas(settings: Settings, client: StoreClient, keys: Keys) -> None:
    one, two = RequestMetrics(client, keys, "ranking"), RequestMetrics(client, keys, "ranking")
    for metrics, hits, status in ((one, 3, 200), (two, 0, 503)):
        stages = RecommendStages(metrics)
        for _ in range(4):
            stages.total.observe(0.002)
            metrics.answered("recommend", status, "" if status == 200 else "overloaded")
        metrics.counts["cache_hits"] += hits
        metrics.counts["events:click"] += 5
        await metrics.flush()
    monitor = Monitor(settings, client, keys)
    system = await monitor.system()
    assert system.replicas == {"ranking": 2}
    assert system.cache_hit_rate == pytest.approx(3 / 8)
    assert system.requests["recommend"].by_code == {"200": 4, "503": 4}
    assert system.requests["recommend"].error_share == 0.5
    assert system.requests["recommend"].shed_total == 4
    assert system.latency["total"].mean_ms == 2.0
    dashboard = await monitor.dashboard()
    assert dashboard.events_per_minute == pytest.approx(10 / dashboard.window_s * 60)
    assert dashboard.learning.events_by_type == {"click": 10}


async def test_prometheus_text_is_a_cumulative_histogram(settings: Settings, client: StoreClient, keys: Keys) -> None:
    metrics = RequestMetrics(client, keys, "ranking")
    for seconds in (0.0015, 0.002, 20.0):
        RecommendStages(metrics).total.observe(seconds)
    await metrics.flush()
    text = prometheus_text(await Monitor(settings, client, keys).observe(), 1000)
    [family] = [one for one in text_string_to_metric_families(text) if one.name == "raycommend_stage_seconds"]
    total = [one for one in family.samples if one.labels["stage"] == "total"]
    buckets = [(one.labels["le"], one.value) for one in total if one.name.endswith("_bucket")]
    assert [le for le, _ in buckets] == [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"]
    counts = [count for _, count in buckets]
    assert counts == sorted(counts)
    assert counts[-2:] == [2, 3]
    rest = {one.name: one.value for one in total if not one.name.endswith("_bucket")}
    assert rest == {"raycommend_stage_seconds_count": 3, "raycommend_stage_seconds_sum": 20.0035}


async def test_prometheus_text_names_each_counter_once(settings: Settings, client: StoreClient, keys: Keys) -> None:
    metrics = RequestMetrics(client, keys, "ranking")
    metrics.answered("recommend", 503, "overloaded")
    await metrics.flush()
    text = prometheus_text(await Monitor(settings, client, keys).observe(), 1000)
    assert 'raycommend_requests_total{code="503",endpoint="recommend"} 1.0' in text
    assert 'raycommend_shed_total{endpoint="recommend"} 1.0' in text
    assert "# TYPE raycommend_events_total counter" in text  # a family without a sample has its type nevertheless
    assert "_total_total" not in text
    assert "_created" not in text


async def test_a_silent_store_is_an_error_for_all_who_ask_together(
    settings: Settings, impatient: StoreClient, keys: Keys, server: Server
) -> None:
    monitor = Monitor(settings, impatient, keys)
    server.pause()
    try:
        with pytest.raises(StoreUnavailable):
            await monitor.dashboard()
    finally:
        server.resume()
    assert (await monitor.dashboard()).requests_total == 0


async def test_a_clock_that_is_set_back_freezes_nothing(
    settings: Settings, client: StoreClient, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = Monitor(settings, client, keys)
    before = await monitor.observe()
    now_ms = clock.now_ms()
    monkeypatch.setattr(clock, "now_ms", lambda: now_ms - 3_600_000)
    deadline = time.monotonic() + 20
    while (seen := await monitor.observe()) is before:
        assert time.monotonic() < deadline, "an hour-old reading is shown for an hour"
    assert seen.time_ms == now_ms - 3_600_000
