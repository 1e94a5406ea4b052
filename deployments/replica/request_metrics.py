"""What one replica counts while it serves: additions to plain numbers, handed on about once a second.

A request must not pay for being counted: a call of a Ray metric takes several microseconds, an addition to a dictionary
a tenth of one. So `RequestMetrics` is all that a request touches, and the replica's watch loop hands the differences
on, to the online store (where they add up over replicas and outlive them) and to Ray's own metrics.
"""

import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

from configs import clock
from deployments.replica.latency import Latency, names_of, sum_name
from deployments.replica.tracing import TracedLatency
from features.redis.connection import StoreClient
from features.redis.errors import StoreError
from features.redis.keys import Keys
from features.telemetry.counters import Writer, record_telemetry

logger = logging.getLogger("ray.serve")
FLUSH_S = 1.0
TURNED_AWAY = ("401", "403", "429")
"""Statuses of requests that the API keys turned away."""
Export = Callable[[Mapping[str, int]], None]


class RequestMetrics:
    """The counts of one replica.

    Args:
        client, keys: the online store, where the counts of all replicas add up.
        deployment: the name of the deployment that the replica belongs to.
        traced: whether each stage's duration becomes a span too.
    """

    def __init__(self, client: StoreClient, keys: Keys, deployment: str, traced: bool = False) -> None:
        self._traced = traced
        self.counts: defaultdict[str, int] = defaultdict(int)
        self._stages: dict[str, Latency] = {}
        self._client = client
        self._keys = keys
        now_ms = clock.now_ms()
        self._writer = Writer(deployment, now_ms, now_ms, uuid.uuid4().hex[:12])
        self._number = 0
        self._reported: dict[str, int] = {}
        self._unsent: dict[str, int] = {}
        self._export: Export | None = None
        self._exported: dict[str, int] = {}

    def stage(self, name: str) -> Latency:
        """The histogram of a stage. Keep it: a request then only calls `observe`."""
        return self._stages.setdefault(name, TracedLatency(name) if self._traced else Latency())

    def answered(self, endpoint: str, status: int, error: str) -> None:
        """Count a request by the status of its answer and, where there is one, by the code of its error."""
        self.counts[f"requests:{endpoint}:{status}"] += 1
        if error:
            self.counts[f"errors:{endpoint}:{error}"] += 1

    def export_to(self, export: Export) -> None:
        """Hand every difference to `export` too. Ray's metrics are given here, as they exist only in a replica."""
        self._export = export

    def totals(self) -> dict[str, int]:
        """All counts of this replica since it started."""
        found = dict(self.counts)
        for stage, latency in self._stages.items():
            found.update(zip(names_of(stage), latency.counts, strict=True))
            found[sum_name(stage)] = round(latency.total_s * 1e6)
        return found

    async def flush(self) -> None:
        """Hand on what was counted since the last time. A store that does not answer gets it later."""
        totals = self.totals()
        if self._export is not None:
            self._export(_difference(totals, self._exported))
            self._exported = totals
        if not self._unsent:
            # A report whose answer was lost is repeated as it was: its number tells the store that it is the same.
            self._unsent = _difference(totals, self._reported)
            self._reported = totals
            self._number += 1
        writer = replace(self._writer, reported_ms=clock.now_ms())
        try:
            await record_telemetry(self._client, self._keys, writer, self._number, self._unsent)
        except StoreError as error:
            logger.debug("the counts are kept until the online store answers: %s", error)
        else:
            self._unsent = {}


class RecommendStages:
    """Where a recommendation spends its time; `total` is from the parsed request to the answer."""

    __slots__ = ("exposure", "features", "ranking", "retrieval", "total")

    def __init__(self, metrics: RequestMetrics) -> None:
        self.features = metrics.stage("features")
        self.retrieval = metrics.stage("retrieval")
        self.ranking = metrics.stage("ranking")
        self.exposure = metrics.stage("exposure")
        self.total = metrics.stage("total")


def reached_and_failed(counts: Mapping[str, int], endpoint: str | None = None) -> tuple[int, int]:
    """Requests that the API keys let through, and those of them that were answered 5xx.

    What is turned away at the door is left out: a stranger who keeps knocking must not make failures look rare.

    Args:
        endpoint: the endpoint whose requests are counted; None for all of them.
    """
    head = "requests:" if endpoint is None else f"requests:{endpoint}:"
    statuses = [(name.rpartition(":")[2], n) for name, n in counts.items() if name.startswith(head)]
    reached = sum(n for status, n in statuses if status not in TURNED_AWAY)
    return reached, sum(n for status, n in statuses if status.startswith("5"))


def _difference(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: amount - before.get(name, 0) for name, amount in now.items() if amount != before.get(name, 0)}
