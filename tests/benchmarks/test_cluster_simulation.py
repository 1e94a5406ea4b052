"""The simulation of a cluster against what queueing theory and plain sums say."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.scale.cluster.measure import KEPT, fitted
from benchmarks.scale.cluster.plan import search_us, sized, store_of_users, times_of
from benchmarks.scale.cluster.simulation import CACHED, EVENT, UNCACHED, Cluster, Times, simulate

FREE = Times(**dict.fromkeys(Times.__dataclass_fields__, 0.0))
LIST = replace(
    FREE, client=20, proxy=50, first=100, call=600, retrieve_call=500, retrieve=300, reply=90, last=70, read=30,
    write=40, sync=200,
)  # fmt: skip
# From the proxy to the answer, one at a time.
LIST_US = 50 + 100 + 30 + 600 + 500 + 300 + 90 + 40 + 200 + 70


def of(kind: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(n, kind), np.zeros(n, np.int64)


def test_a_lone_list_takes_the_sum_of_its_steps() -> None:
    found = simulate(LIST, Cluster(spread=0.0, network_us=10.0), *of(UNCACHED, 200), seed=0, connections=1)
    # To the replica, to the store and back twice, to retrieval and back, and to the client
    assert found.latency_ms[UNCACHED] == pytest.approx(np.full(160, (LIST_US + 8 * 10) / 1e3))
    assert found.batch == 1.0


def test_waiting_at_one_server_is_that_of_an_m_d_1_queue() -> None:
    """Mean wait = service * load / (2 * (1 - load)); at a load of a half that is half a service."""
    times = replace(FREE, proxy=100.0)
    found = simulate(times, Cluster(spread=0.0), *of(EVENT, 200_000), seed=1, rate=5_000.0)
    assert found.latency_ms[EVENT].mean() == pytest.approx(0.150, rel=0.03)
    assert found.busy["HAProxy"][0] == pytest.approx(0.5, rel=0.02)


def test_two_cores_do_no_more_than_two_cores_can() -> None:
    alone = simulate(LIST, Cluster(cores=2, spread=0.0), *of(UNCACHED, 4000), seed=0, connections=1)
    busy = simulate(LIST, Cluster(cores=2, spread=0.0), *of(UNCACHED, 4000), seed=0, connections=64)
    work_us = LIST_US - 200 + 20 - (600 + 500) * (1 - 1 / busy.batch)
    assert alone.requests_per_s == pytest.approx(1e6 / (LIST_US + 20), rel=0.01)
    assert 0.8 * 2e6 / work_us < busy.requests_per_s <= 1.01 * 2e6 / work_us


def test_lists_that_wait_share_a_call_evenly() -> None:
    found = simulate(LIST, Cluster(spread=0.0), *of(UNCACHED, 4000), seed=0, connections=64)
    assert 8 <= found.batch <= 32  # two calls in flight, of 64 that are under way at most


def test_writes_that_wait_share_one_sync_of_the_disk() -> None:
    times = replace(FREE, event_write=10.0, sync=1000.0)
    found = simulate(times, Cluster(spread=0.0), *of(EVENT, 20_000), seed=0, connections=100)
    assert found.requests_per_s > 20 * 1000


def test_each_kind_takes_its_own_way() -> None:
    times = replace(LIST, cached=200.0, ingest=100.0, event_write=60.0)
    kinds = np.tile([UNCACHED, CACHED, EVENT], 300)
    found = simulate(times, Cluster(spread=0.0), kinds, np.zeros(900, np.int64), seed=0, connections=1)
    assert found.latency_ms[CACHED] == pytest.approx((50 + 200 + 30 + 40 + 200) / 1e3)
    assert found.latency_ms[EVENT] == pytest.approx((50 + 100 + 60 + 200) / 1e3)
    assert sum(len(one) for one in found.latency_ms.values()) == 720


def test_more_servers_of_a_role_share_its_work() -> None:
    cluster = Cluster(proxies=4, ranking=8, ingestion=1, retrieval=8, stores=4, spread=0.5)
    stores = store_of_users(40_000, 4, seed=0)
    found = simulate(LIST, cluster, np.zeros(40_000, np.int64), stores, seed=0, rate=4_000.0)
    assert found.requests_per_s == pytest.approx(4_000, rel=0.05)
    for role in ("Ranking", "Retrieval", "store"):
        assert found.busy[role].max() < 1.5 * found.busy[role].mean()


def test_the_same_seed_gives_the_same_outcome() -> None:
    one, other, third = (
        simulate(LIST, Cluster(spread=0.5), *of(UNCACHED, 2000), seed=seed, rate=300.0).latency_ms[UNCACHED]
        for seed in (0, 0, 1)
    )
    assert np.array_equal(one, other)
    assert not np.array_equal(one, third)


@pytest.mark.parametrize("given", [{}, {"rate": 1.0, "connections": 1}])
def test_load_is_either_a_rate_or_connections(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="either the rate or the connections"):
        simulate(LIST, Cluster(), *of(UNCACHED, 10), seed=0, **given)  # type: ignore[arg-type]


def test_own_part_and_call_are_told_apart_by_the_size_of_batches() -> None:
    us = {"Valkey": 5.0, "HAProxy": 6.0, "client": 7.0, "Ingestion": 8.0}
    runs = [
        {
            "kind": "uncached",
            "connections": c,
            "batch": b,
            "us": {**us, "Ranking": 300 + 640 / b, "Retrieval": 400 + 600 / b},
        }
        for c, b in ((1, 1.0), (8, 2.0), (32, 8.0))
    ]
    runs += [
        {"kind": kind, "connections": 32, "batch": None, "us": {**us, "Ranking": 150.0}}
        for kind in ("cached", "events")
    ]
    found = fitted(runs)
    assert [found[f"Ranking {part}"] for part in ("own", "call")] == pytest.approx([300, 640])
    assert [found[f"Retrieval {part}"] for part in ("own", "call")] == pytest.approx([400, 600])


def test_a_cluster_is_as_large_as_its_work() -> None:
    counts = sized(LIST, 10_000, {UNCACHED: 1.0, CACHED: 0.0, EVENT: 0.0}, busy=0.5, batch=2.0)
    assert counts == {"proxies": 1, "ranking": 12, "ingestion": 1, "retrieval": 11, "stores": 2}


def test_ranking_replicas_are_enough_to_keep_retrieval_at_work() -> None:
    slow = replace(LIST, retrieve=9_450.0)
    counts = sized(slow, 10_000, {UNCACHED: 1.0, CACHED: 0.0, EVENT: 0.0}, busy=0.5, batch=10.0)
    assert (counts["retrieval"], counts["ranking"]) == (190, 95)


def test_a_search_is_on_the_line_through_what_was_measured() -> None:
    measured = [{"items": 100, "search ms": 1.0}, {"items": 10_000, "search ms": 10.0}]
    assert [search_us(measured, items) for items in (100, 1_000, 1_000_000)] == pytest.approx(
        [1000, 1000 * 10**0.5, 1e5]
    )


def test_what_was_measured_is_complete() -> None:
    times = times_of(json.loads(KEPT.read_text()))
    assert min(times.first, times.call, times.retrieve, times.read, times.sync, times.cached, times.ingest) > 0
