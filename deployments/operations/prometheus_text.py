"""The platform's numbers in Prometheus' text form: sums over all replicas, from the online store."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from deployments.operations.monitor import ENDPOINTS, STAGES, quality_view
from deployments.operations.observation import Observation, events_since_training
from deployments.replica.latency import BOUNDS_S, counts_of, sum_name
from features.serving.run_record import Run

__all__ = ["CONTENT_TYPE", "prometheus_text"]

Sample = tuple[tuple[str, ...], float]
"""The values of a family's labels, and the number."""


def prometheus_text(seen: Observation, retrain_after: int) -> str:
    """All metrics with help and type."""
    return generate_latest(_Collector(seen, retrain_after)).decode()


class _Collector:
    """Makes the metric families of one observation. It is in no registry, since it lives for one scrape."""

    def __init__(self, seen: Observation, retrain_after: int) -> None:
        self._seen = seen
        self._retrain_after = retrain_after

    def collect(self) -> Iterator[Metric]:
        yield from _requests(self._seen.telemetry.totals)
        yield from _lists_and_events(self._seen.telemetry.totals)
        yield from _streams_and_replicas(self._seen)
        yield from _models(self._seen, self._retrain_after)
        yield from _autopilot(self._seen)
        yield from _live_quality(self._seen)


def _requests(totals: Mapping[str, int]) -> Iterator[Metric]:
    yield _counter(
        "requests", "Requests answered, by endpoint and status", _split(totals, "requests"), ("endpoint", "code")
    )
    yield _counter(
        "errors",
        "Requests refused or failed, by endpoint and error code",
        _split(totals, "errors"),
        ("endpoint", "code"),
    )
    yield _counter(
        "shed",
        "Requests turned away because too many were waiting",
        [((endpoint,), totals[f"errors:{endpoint}:overloaded"]) for endpoint in ENDPOINTS],
        ("endpoint",),
    )
    yield _counter(
        "group_requests",
        "Requests by group of users: asked and how many failed, lists and how many were slow",
        _split(totals, "by_group"),
        ("what", "group"),
    )
    stages = HistogramMetricFamily(
        "raycommend_stage_seconds", "Durations by stage of a recommendation, and of an event", labels=["stage"]
    )
    bounds = [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"]
    for stage in STAGES:
        below = accumulate(counts_of(totals, stage))
        stages.add_metric([stage], list(zip(bounds, below, strict=True)), totals.get(sum_name(stage), 0) / 1e6)
    yield stages


def _lists_and_events(totals: Mapping[str, int]) -> Iterator[Metric]:
    for name, text in (
        ("cache_hits", "Lists from the cache"),
        ("cold_starts", "Lists for users of whom nothing is known"),
        ("degraded", "Lists made without the online store"),
        ("fold_ins", "Lists by a user vector folded in at request time"),
        ("variant_fallbacks", "Lists by the champion because a variant's slot did not answer"),
        ("version_mismatches", "Lists by another version than their variant promises, which count for no experiment"),
        ("exposures_lost", "Lists that were shown and could not be logged"),
    ):
        yield _counter(name, text, [((), totals[name])])
    yield _counter("events", "Events recorded, by type", _split(totals, "events"), ("type",))
    for name, text in (
        ("events_duplicate", "Events that had been recorded before"),
        ("events_refused", "Events refused within a batch"),
        ("features_refreshed", "Times that an event changed a user's features"),
    ):
        yield _counter(name, text, [((), totals[name])])


def _streams_and_replicas(seen: Observation) -> Iterator[Metric]:
    yield _gauge(
        "stream_pending",
        "Entries of a stream that are not in the offline log yet",
        [((kind,), one.pending) for kind, one in seen.backlog.items()],
        ("stream",),
    )
    yield _gauge(
        "stream_lag_seconds",
        "Age of the oldest of them",
        [((kind,), one.lag_s) for kind, one in seen.backlog.items()],
        ("stream",),
    )
    yield _counter(
        "exposures_trimmed",
        "Exposures that were dropped before a compaction took them",
        [((), seen.backlog["exposures"].trimmed)],
    )
    yield _gauge("store_memory_bytes", "Memory that counts for the online store's limit", [((), seen.memory.used)])
    limit: list[Sample] = [((), seen.memory.limit)] if seen.memory.limit else []
    yield _gauge("store_memory_limit_bytes", "That limit, past which it refuses writes; absent without one", limit)
    if seen.disk is not None:
        yield _gauge("store_disk_free_bytes", "Free space on the disk of a local store", [((), seen.disk.free)])
        yield _gauge("store_disk_floor_bytes", "Below this free space events are refused", [((), seen.disk.floor)])
    yield from _supervisor(seen)
    use = seen.heartbeat.use if seen.heartbeat else []
    yield _gauge("kept_bytes", "What is kept, by group", [((one.group,), one.used_bytes) for one in use], ("group",))
    yield _gauge(
        "kept_budget_bytes",
        "What a group may use; absent without a limit",
        [((one.group,), one.budget_bytes) for one in use if one.budget_bytes is not None],
        ("group",),
    )
    replicas: dict[str, int] = {}
    for writer in seen.telemetry.writers:
        replicas[writer.deployment] = replicas.get(writer.deployment, 0) + 1
    yield _gauge("replicas", "Replicas that report", [((name,), n) for name, n in replicas.items()], ("deployment",))


def _supervisor(seen: Observation) -> Iterator[Metric]:
    """Of a local stack: empty on a cluster."""
    report = seen.supervision
    watching: list[Sample] = [] if report is None else [((), report.watching)]
    yield _gauge("supervisor_watching", "Whether a supervisor starts parts again that die", watching)
    down: list[Sample] = [] if report is None else [((part,), 1) for part in report.troubles]
    yield _gauge("part_down", "A part that does not work now", down, ("part",))
    restarts: list[Sample] = [] if report is None else [((), report.restarts)]
    yield _counter("part_restarts", "Parts that were started again since `make up`", restarts)


def _models(seen: Observation, retrain_after: int) -> Iterator[Metric]:
    yield _gauge(
        "model_info",
        "The version in each slot",
        [((name, slot.version), 1) for name, slot in seen.slots.items()],
        ("slot", "version"),
    )
    yield _gauge(
        "model_age_seconds",
        "Time since the model of a slot was trained",
        [((name,), (seen.time_ms - one.created_ms) / 1000) for name, one in seen.manifests.items()],
        ("slot",),
    )
    since = events_since_training(seen)
    yield _gauge(
        "events_since_training",
        "Events that the champion has not learned from",
        [] if since is None else [((), since)],
    )
    counted = seen.heartbeat.events_counted if seen.heartbeat else None
    yield _gauge(
        "events_counted",
        "What they count for, where one user makes up only a part: it decides on a retraining",
        [] if counted is None else [((), counted)],
    )
    yield _gauge("retrain_after_events", "More than this call for a retraining; 0: never", [((), retrain_after)])
    yield _gauge("retraining_in_progress", "Whether a retraining is on its way", [((), seen.run is not None)])
    yield _gauge("retraining_failed", "Whether the latest retraining failed", [((), _failed(seen.last_run))])


def _autopilot(seen: Observation) -> Iterator[Metric]:
    """Health and drift as autopilot last saw them; the families are empty where it never looked."""
    beat = seen.heartbeat
    age: list[Sample] = [] if beat is None else [((), (seen.time_ms - beat.time_ms) / 1000)]
    yield _gauge("autopilot_age_seconds", "Time since autopilot last looked", age)
    yield _gauge(
        "alert",
        "What autopilot finds wrong now",
        [((one.name, one.severity), 1) for one in (beat.alerts if beat else [])],
        ("name", "severity"),
    )
    durable: list[Sample] = [((), beat.store_durable)] if beat is not None and beat.store_durable is not None else []
    yield _gauge("store_durable", "Whether an acknowledged write survives a crash of the store", durable)
    drift = [] if beat is None else beat.drift
    yield _gauge(
        "drift",
        "A measure of drift",
        [((one.name,), one.value) for one in drift if one.value is not None],
        ("measure",),
    )
    yield _gauge("drift_threshold", "Its threshold", [((one.name,), one.threshold) for one in drift], ("measure",))
    yield _gauge(
        "drifted",
        "Whether it has drifted; absent while there is too little to say",
        [((one.name,), one.drifted) for one in drift if one.drifted is not None],
        ("measure",),
    )
    mismatched: list[Sample] = [] if beat is None else [((), beat.mismatched_replicas)]
    yield _gauge("replicas_refusing_model", "Retrieval replicas that refuse the slot's model", mismatched)
    late: list[Sample] = [] if beat is None or beat.near_behind_s is None else [((), beat.near_behind_s)]
    yield _gauge("near_behind_seconds", "How far the near relations are behind the events; absent without any", late)
    yield _gauge(
        "experiment_unhealthy",
        "Whether a running experiment has a sample ratio mismatch",
        [] if beat is None else [((name,), not well) for name, well in beat.experiments.items()],
        ("experiment",),
    )


def _live_quality(seen: Observation) -> Iterator[Metric]:
    quality = [quality_view(one, seen.n_items.get(one.version)) for one in seen.quality]
    for name, text in (
        ("click_rate", "Share of a day's lists with a positive answer"),
        ("hit_rate", "Share of lists with a hit among the first ten, of those after which the user took anything up"),
        ("map_at_10", "MAP@10 of all lists"),
        ("coverage", "Share of the model's items that a day's lists showed"),
        ("diversity", "1 - mean cosine of categories within a list"),
        ("rating_rmse", "Incoming ratings against the model's biases"),
    ):
        yield _gauge(
            f"live_{name}",
            text,
            [((one.model_version, one.day), value) for one in quality if (value := getattr(one, name)) is not None],
            ("version", "day"),
        )


def _counter(name: str, text: str, samples: Iterable[Sample], labels: Sequence[str] = ()) -> Metric:
    """A family of counters; the library adds `_total` to their names."""
    family = CounterMetricFamily(f"raycommend_{name}", text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _gauge(name: str, text: str, samples: Iterable[Sample], labels: Sequence[str] = ()) -> Metric:
    family = GaugeMetricFamily(f"raycommend_{name}", text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _failed(run: Run | None) -> bool:
    return run is not None and run.outcome in ("failed", "stopped")


def _split(totals: Mapping[str, int], family: str) -> list[Sample]:
    head = f"{family}:"
    return sorted((tuple(name[len(head) :].split(":")), n) for name, n in totals.items() if name.startswith(head))
