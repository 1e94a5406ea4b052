"""Requests through the queues of a cluster, event by event: HAProxy, replicas, store servers.

Every process does one job at a time, in the order of coming, and needs a core of its machine for it. What is as in the
real system: a list waits for its features, then for a place in a micro-batch (`deployments.recommend.micro_batch`: two
calls in flight, each with its even share of the questions), then for its exposure; a store server takes all that waits
at once and syncs its file once for it; HAProxy gives a request to the replica with the fewest; a call goes to the less
busy of two retrieval replicas.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.scale.cluster.queues import play

UNCACHED, CACHED, EVENT = 0, 1, 2


@dataclass(frozen=True)
class Times:
    """Processor time of one request in each process, microseconds; a call is that of a micro-batch, on top of it.

    `sync` is the time by the clock that the disk takes for a write of the store.
    """

    client: float
    proxy: float
    first: float
    call: float
    retrieve_call: float
    retrieve: float
    reply: float
    last: float
    read: float
    write: float
    sync: float
    cached: float
    ingest: float
    event_write: float


@dataclass(frozen=True)
class Cluster:
    """How many processes there are, and where.

    Attributes:
        cores: of the one machine that all processes share; 0: each process has a core of its own.
        network_us: one way between two processes.
        spread: coefficient of variation of each job's time; its distribution is lognormal.
    """

    proxies: int = 1
    ranking: int = 1
    ingestion: int = 1
    retrieval: int = 1
    stores: int = 1
    cores: int = 0
    network_us: float = 0.0
    spread: float = 0.3


@dataclass(frozen=True)
class Outcome:
    """What a simulation saw.

    Attributes:
        latency_ms: kind -> of each request, from its arrival at the proxy to its answer.
        busy: role -> share of the time in which each process of it used its core, (processes,).
        batch: questions in a micro-batch, on average.
        syncs_per_s: of the disk, in each store server, on average.
    """

    requests_per_s: float
    latency_ms: dict[int, np.ndarray]
    busy: dict[str, np.ndarray]
    batch: float
    syncs_per_s: float


def simulate(
    times: Times,
    cluster: Cluster,
    kinds: np.ndarray,
    stores: np.ndarray,
    seed: int,
    rate: float = 0.0,
    connections: int = 0,
    warm: float = 0.2,
) -> Outcome:
    """Play requests through.

    Args:
        kinds: (n,) of UNCACHED, CACHED, EVENT.
        stores: (n,) which store server holds the user.
        rate: requests a second that arrive by chance (Poisson); or
        connections: clients of which each asks again as soon as it has its answer.
        warm: share of the requests at the beginning that is not counted.
    """
    if (rate > 0) == (connections > 0):
        raise ValueError("give either the rate or the connections")
    generator = np.random.default_rng(seed)
    n = len(kinds)
    gaps = generator.exponential(1e6 / rate, n) if rate else np.zeros(n)
    arrivals = np.cumsum(gaps)
    sigma = np.sqrt(np.log1p(cluster.spread**2))
    noise = np.exp(generator.normal(-(sigma**2) / 2, sigma, 1 << 16))
    sizes = np.array(
        [cluster.proxies, cluster.ranking, cluster.ingestion, cluster.retrieval, cluster.stores, 1], np.int64
    )
    costs = np.array(
        [
            *(times.client, times.proxy, times.first, times.call, times.retrieve_call, times.retrieve, times.reply),
            *(times.last, times.read, times.write, times.sync, times.cached, times.ingest, times.event_write),
        ]
    )
    started, ended, busy, counts, span = play(
        costs, sizes, cluster.cores, cluster.network_us, kinds.astype(np.int64), stores.astype(np.int64), arrivals,
        connections, noise, generator.integers(0, 1 << 30, 1 << 16),
    )  # fmt: skip
    order = np.argsort(ended)
    counted = order[int(warm * n) :]
    seconds = (ended[counted[-1]] - ended[counted[0]]) / 1e6
    latency = (ended - started) / 1e3
    bounds = np.cumsum(sizes)
    roles = ("HAProxy", "Ranking", "Ingestion", "Retrieval", "store")
    return Outcome(
        requests_per_s=len(counted) / seconds,
        latency_ms={kind: latency[counted[kinds[counted] == kind]] for kind in (UNCACHED, CACHED, EVENT)},
        busy={
            role: busy[end - size : end] / span for role, size, end in zip(roles, sizes[:-1], bounds[:-1], strict=True)
        },
        batch=float(counts[1] / counts[0]) if counts[0] else 0.0,
        syncs_per_s=float(counts[2]) / span * 1e6 / cluster.stores,
    )
