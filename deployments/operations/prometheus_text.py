"""The platform's numbers in Prometheus' text form: sums over all replicas, from the online store."""

from collections.abc import Callable, Iterable, Mapping

from deployments.operations.monitor import ENDPOINTS, STAGES, Observation, events_since_training, quality_view
from deployments.replica.latency import BOUNDS_S, counts_of, sum_name
from features.serving.retraining_run import Run

Sample = tuple[Mapping[str, str], float]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def prometheus_text(seen: Observation, retrain_after: int) -> str:
    """All metrics with help and type."""
    totals = seen.telemetry.totals
    lines: list[str] = []

    def family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> None:
        lines.extend((f"# HELP raycommend_{name} {text}", f"# TYPE raycommend_{name} {kind}"))
        lines.extend(f"raycommend_{name}{_labels(labels)} {value:.10g}" for labels, value in samples)

    def counted(name: str, text: str, count: str) -> None:
        family(name, "counter", text, [({}, totals[count])])

    requests = _split(totals, "requests")
    family(
        "requests_total",
        "counter",
        "Requests answered, by endpoint and status",
        [({"endpoint": endpoint, "code": code}, n) for (endpoint, code), n in requests],
    )
    family(
        "errors_total",
        "counter",
        "Requests refused or failed, by endpoint and error code",
        [({"endpoint": endpoint, "code": code}, n) for (endpoint, code), n in _split(totals, "errors")],
    )
    family(
        "shed_total",
        "counter",
        "Requests turned away because too many were waiting",
        [({"endpoint": endpoint}, totals[f"errors:{endpoint}:overloaded"]) for endpoint in ENDPOINTS],
    )
    _histogram(lines, totals)
    counted("cache_hits_total", "Lists from the cache", "cache_hits")
    counted("cold_starts_total", "Lists for users of whom nothing is known", "cold_starts")
    counted("degraded_total", "Lists made without the online store", "degraded")
    counted("fold_ins_total", "Lists by a user vector folded in at request time", "fold_ins")
    counted(
        "variant_fallbacks_total", "Lists by the champion because a variant's slot did not answer", "variant_fallbacks"
    )
    family(
        "events_total",
        "counter",
        "Events recorded, by type",
        [({"type": kind}, n) for (kind,), n in _split(totals, "events")],
    )
    counted("events_duplicate_total", "Events that had been recorded before", "events_duplicate")
    counted("events_refused_total", "Events refused within a batch", "events_refused")
    counted("features_refreshed_total", "Times that an event changed a user's features", "features_refreshed")
    family(
        "stream_pending",
        "gauge",
        "Entries of a stream that are not in the offline log yet",
        [({"stream": kind}, one.pending) for kind, one in seen.backlog.items()],
    )
    family(
        "stream_lag_seconds",
        "gauge",
        "Age of the oldest of them",
        [({"stream": kind}, one.lag_s) for kind, one in seen.backlog.items()],
    )
    replicas: dict[str, int] = {}
    for writer in seen.telemetry.writers:
        replicas[writer.deployment] = replicas.get(writer.deployment, 0) + 1
    family("replicas", "gauge", "Replicas that report", [({"deployment": name}, n) for name, n in replicas.items()])
    family(
        "model_info",
        "gauge",
        "The version in each slot",
        [({"slot": name, "version": slot.version}, 1) for name, slot in seen.slots.items()],
    )
    family(
        "model_age_seconds",
        "gauge",
        "Time since the model of a slot was trained",
        [({"slot": name}, (seen.time_ms - one.created_ms) / 1000) for name, one in seen.manifests.items()],
    )
    since = events_since_training(seen)
    family(
        "events_since_training",
        "gauge",
        "Events that the champion has not learned from",
        [] if since is None else [({}, since)],
    )
    family("retrain_after_events", "gauge", "More than this call for a retraining; 0: never", [({}, retrain_after)])
    family("retraining_in_progress", "gauge", "Whether a retraining is on its way", [({}, seen.run is not None)])
    family("retraining_failed", "gauge", "Whether the latest retraining failed", [({}, _failed(seen.last_run))])
    _autopilot(family, seen)
    return "\n".join(lines) + "\n"


def _autopilot(family: Callable[[str, str, str, Iterable[Sample]], None], seen: Observation) -> None:
    """Live quality and drift, as autopilot last saw them; absent where it never looked."""
    beat = seen.heartbeat
    age: list[Sample] = [] if beat is None else [({}, (seen.time_ms - beat.time_ms) / 1000)]
    family("autopilot_age_seconds", "gauge", "Time since autopilot last looked", age)
    alerts = [] if beat is None else beat.alerts
    family(
        "alert",
        "gauge",
        "What autopilot finds wrong now",
        [({"name": one.name, "severity": one.severity}, 1) for one in alerts],
    )
    durable: list[Sample] = [({}, beat.store_durable)] if beat is not None and beat.store_durable is not None else []
    family("store_durable", "gauge", "Whether an acknowledged write survives a crash of the store", durable)
    drift = [] if beat is None else beat.drift
    family(
        "drift",
        "gauge",
        "A measure of drift",
        [({"measure": one.name}, one.value) for one in drift if one.value is not None],
    )
    family("drift_threshold", "gauge", "Its threshold", [({"measure": one.name}, one.threshold) for one in drift])
    family(
        "drifted",
        "gauge",
        "Whether it has drifted; absent while there is too little to say",
        [({"measure": one.name}, one.drifted) for one in drift if one.drifted is not None],
    )
    mismatch: list[Sample] = [({}, beat.mismatched_replicas)] if beat is not None else []
    family("replicas_refusing_model", "gauge", "Retrieval replicas that refuse the slot's model", mismatch)
    family(
        "experiment_unhealthy",
        "gauge",
        "Whether a running experiment has a sample ratio mismatch",
        [] if beat is None else [({"experiment": name}, not well) for name, well in beat.experiments.items()],
    )
    quality = [quality_view(one, seen.n_items.get(one.version)) for one in seen.quality]
    for name, text in (
        ("click_rate", "Share of a day's lists with a positive answer"),
        ("hit_rate", "Share of lists with a hit among the first ten, of those after which the user took anything up"),
        ("map_at_10", "MAP@10 of the same lists"),
        ("coverage", "Share of the model's items that a day's lists showed"),
        ("diversity", "1 - mean cosine of categories within a list"),
        ("rating_rmse", "Incoming ratings against the model's biases"),
    ):
        family(
            f"live_{name}",
            "gauge",
            text,
            [
                ({"version": one.model_version, "day": one.day}, value)
                for one in quality
                if (value := getattr(one, name)) is not None
            ],
        )


def _histogram(lines: list[str], totals: Mapping[str, int]) -> None:
    name = "raycommend_stage_seconds"
    lines += [f"# HELP {name} Durations by stage of a recommendation, and of an event", f"# TYPE {name} histogram"]
    for stage in STAGES:
        below = 0
        for bound, count in zip((*BOUNDS_S, None), counts_of(totals, stage), strict=True):
            below += count
            le = "+Inf" if bound is None else f"{bound:g}"
            lines.append(f"{name}_bucket{_labels({'stage': stage, 'le': le})} {below}")
        lines.append(f"{name}_sum{_labels({'stage': stage})} {totals.get(sum_name(stage), 0) / 1e6:.10g}")
        lines.append(f"{name}_count{_labels({'stage': stage})} {below}")


def _failed(run: Run | None) -> bool:
    return run is not None and run.outcome in ("failed", "stopped")


def _split(totals: Mapping[str, int], family: str) -> list[tuple[tuple[str, ...], int]]:
    head = f"{family}:"
    return sorted((tuple(name[len(head) :].split(":")), n) for name, n in totals.items() if name.startswith(head))


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
