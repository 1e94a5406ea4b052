"""Answers what is true now, from the online store alone, so that any replica of the console can."""

import asyncio
import contextvars
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from configs import clock
from configs.settings import AutopilotLimits, Settings
from configs.supervision import read_supervision
from data.event_log import EventLog
from deployments.http.schemas import iso_time
from deployments.operations.heartbeat import read_heartbeat
from deployments.operations.monitor_views import (
    AutopilotView,
    BacklogView,
    DashboardMetrics,
    LearningView,
    ModelMetrics,
    ModelView,
    QualityView,
    RequestView,
    SystemMetrics,
    Timing,
    TrainingStatus,
    TrainingView,
)
from deployments.operations.observation import Observation, events_since_training
from deployments.replica.latency import counts_of, quantile_s, sum_name
from deployments.replica.request_metrics import reached_and_failed
from features.redis.connection import StoreClient
from features.redis.disk_space import read_disk_space
from features.redis.keys import Keys
from features.redis.memory import read_memory
from features.serving.serving_state import read_state
from features.serving.slots import CHAMPION, Slot
from features.streams.backlog import read_backlog
from features.telemetry.counters import Telemetry, read_telemetry
from features.telemetry.quality_sums import QualitySums, read_quality
from models.bundle.arrays import BundleError
from models.bundle.manifest import Manifest
from models.bundle.reading import read_manifest
from models.monitoring.live_quality import MILLION

STAGES = ("total", "features", "retrieval", "ranking", "exposure", "event")
ENDPOINTS = ("recommend", "events", "events_batch")
REFUSALS = ("invalid_field", "unknown_item", "event_id_conflict", "another_user")
"""Codes of the errors that refuse a single event for what it is; those of a batch count by themselves."""
FRESH_S = 0.5


class Monitor:
    """Reads the store; several questions within half a second share one reading.

    Args:
        settings: where bundles and log are, and what counts for training.
        client, keys: the online store.
    """

    def __init__(self, settings: Settings, client: StoreClient, keys: Keys) -> None:
        self._settings = settings
        self._client = client
        self._keys = keys
        self._log = EventLog(settings.log_dir)
        self._manifests: dict[str, Manifest] = {}
        self._latest: Observation | None = None
        self._latest_s = 0.0  # of the monotonic clock: the wall's may be set back
        self._reading: asyncio.Task[Observation] | None = None

    async def observe(self) -> Observation:
        """Read everything anew, or share a reading of the last half second. Raises `StoreError`."""
        now_ms = clock.now_ms()
        if self._latest is not None and time.monotonic() - self._latest_s <= FRESH_S:
            return self._latest
        if self._reading is None or self._reading.done():
            # One reading for all who ask meanwhile: while the store is silent they wait together, not in turn. In a
            # context of its own, so that a client who hangs up does not cancel it for the others.
            self._reading = asyncio.get_running_loop().create_task(self._observe(now_ms), context=contextvars.Context())
        started_s = time.monotonic()
        self._latest = await asyncio.shield(self._reading)
        self._latest_s = started_s
        return self._latest

    def forget(self) -> None:
        """Drop the shared reading, since something was just changed here: whoever asks next must see it."""
        self._latest = self._reading = None

    async def _observe(self, now_ms: int) -> Observation:
        (telemetry, backlog, state), (quality, heartbeat, memory) = await asyncio.gather(
            asyncio.gather(
                read_telemetry(self._client, self._keys),
                read_backlog(self._client, self._keys),
                read_state(self._client, self._keys),
            ),
            asyncio.gather(
                read_quality(self._client, self._keys, self._settings.keeping.quality_days),
                read_heartbeat(self._client, self._keys),
                read_memory(self._client),
            ),
        )
        judged = {one.version for one in quality}
        manifests, catalogues, log_rows = await asyncio.to_thread(self._from_disk, state.slots, judged)
        return Observation(
            now_ms, telemetry, backlog, state.version, state.slots, manifests, state.run, state.last_run, log_rows,
            quality, catalogues, heartbeat, memory,
            read_disk_space(self._settings), read_supervision(self._settings.state_dir),
        )  # fmt: skip

    def _from_disk(
        self, slots: Mapping[str, Slot], judged: Iterable[str]
    ) -> tuple[dict[str, Manifest], dict[str, int], int]:
        """Manifests of the slots, number of items of the versions whose lists were judged, and logged events."""
        found = {name: self._manifest(slot.version, slot.path) for name, slot in slots.items()}
        known = {version: self._manifest(version, self._settings.bundles_dir / version) for version in judged}
        return (
            {name: manifest for name, manifest in found.items() if manifest},
            {version: manifest.n_items for version, manifest in known.items() if manifest},
            self._log.count_events(self._settings.training.simulated),
        )

    def _manifest(self, version: str, path: Path) -> Manifest | None:
        """A slot's manifest; None where it cannot be read: health tells of that, and what it says is unknown here."""
        if version not in self._manifests:
            try:
                self._manifests[version] = read_manifest(path)
            except BundleError:
                return None
        return self._manifests[version]

    async def system(self) -> SystemMetrics:
        """How the machinery does. Raises `StoreError`."""
        return system_metrics(await self.observe())

    async def model(self) -> ModelMetrics:
        """The models in the slots and the quality of their lists. Raises `StoreError`."""
        seen = await self.observe()
        autopilot = self._settings.autopilot
        return ModelMetrics(
            last_update=iso_time(seen.time_ms),
            slots={name: model_view(slot, seen.manifests.get(name), seen.time_ms) for name, slot in seen.slots.items()},
            events_since_training=events_since_training(seen),
            training=training_view(seen),
            quality=[quality_view(one, seen.n_items.get(one.version)) for one in seen.quality],
            drift=seen.heartbeat.drift if seen.heartbeat else [],
            autopilot=autopilot_view(seen, autopilot),
        )

    async def dashboard(self) -> DashboardMetrics:
        """Everything at a glance. Raises `StoreError`."""
        seen = await self.observe()
        system = system_metrics(seen)
        model = await self.model()
        champion = model.slots.get(CHAMPION)
        requests = system.requests.values()
        recent = sum(amount for name, amount in seen.telemetry.recent.items() if name.startswith("requests:"))
        reached, failed = reached_and_failed(seen.telemetry.recent)
        return DashboardMetrics(
            last_update=iso_time(seen.time_ms),
            window_s=system.window_s,
            uptime_s=system.uptime_s,
            requests_total=sum(one.total for one in requests),
            requests_per_second=recent / seen.telemetry.window_s,
            error_share=_ratio(failed, reached),
            shed_total=sum(one.shed_total for one in requests),
            events_per_minute=_recorded(seen.telemetry.recent) / seen.telemetry.window_s * 60,
            cache_hit_rate=system.cache_hit_rate,
            latency=system.latency["total"],
            model_version=champion.version if champion else None,
            model_accuracy=champion.metrics if champion and champion.trained_at else None,
            last_trained=champion.trained_at if champion else None,
            model_age_s=champion.age_s if champion else None,
            training_status=model.training.status,
            learning=learning_view(seen, self._settings.autopilot.new_events),
            stream_pending=sum(one.pending for one in seen.backlog.values()),
            stream_lag_s=max(one.lag_s for one in seen.backlog.values()),
            drift=model.drift,
            quality=next((one for one in model.quality if champion and one.model_version == champion.version), None),
        )


def system_metrics(seen: Observation) -> SystemMetrics:
    """Requests, latencies, cache and streams over all replicas."""
    telemetry = seen.telemetry
    replicas: dict[str, int] = {}
    for writer in telemetry.writers:
        replicas[writer.deployment] = replicas.get(writer.deployment, 0) + 1
    started_ms = min((writer.started_ms for writer in telemetry.writers), default=None)
    lists = sum(counts_of(telemetry.recent, "total"))
    return SystemMetrics(
        last_update=iso_time(seen.time_ms),
        window_s=telemetry.window_s,
        uptime_s=None if started_ms is None else (seen.time_ms - started_ms) / 1000,
        replicas=replicas,
        requests={endpoint: _requests(telemetry, endpoint) for endpoint in ENDPOINTS},
        latency={stage: timing(telemetry.recent, stage) for stage in STAGES},
        cache_hit_rate=telemetry.recent["cache_hits"] / lists if lists else None,
        cache_hits_total=telemetry.totals["cache_hits"],
        lists_total=sum(counts_of(telemetry.totals, "total")),
        cold_start_share=telemetry.recent["cold_starts"] / lists if lists else None,
        degraded_share=telemetry.recent["degraded"] / lists if lists else None,
        streams={kind: BacklogView(pending=one.pending, lag_s=one.lag_s) for kind, one in seen.backlog.items()},
        kept=seen.heartbeat.use if seen.heartbeat else [],
    )


def timing(counts: Mapping[str, int], stage: str) -> Timing:
    """Mean and percentiles of a stage out of counts by name."""
    buckets = counts_of(counts, stage)
    n = sum(buckets)
    p50, p95, p99 = (quantile_s(buckets, share) for share in (0.5, 0.95, 0.99))
    return Timing(
        n=n,
        mean_ms=round(counts.get(sum_name(stage), 0) / n / 1000, 3) if n else None,
        p50_ms=_ms(p50),
        p95_ms=_ms(p95),
        p99_ms=_ms(p99),
    )


def model_view(slot: Slot, manifest: Manifest | None, now_ms: int) -> ModelView:
    """A slot, and what its bundle says of itself where that can be read."""
    return ModelView(
        version=slot.version,
        since=iso_time(slot.since_ms),
        reason=slot.reason,
        trained_at=iso_time(manifest.created_ms) if manifest else None,
        age_s=(now_ms - manifest.created_ms) / 1000 if manifest else None,
        metrics=manifest.metrics if manifest else {},
        n_users=manifest.n_users if manifest else None,
        n_items=manifest.n_items if manifest else None,
    )


def training_view(seen: Observation) -> TrainingView:
    """Whether a retraining is on its way, and how the latest ended."""
    status: TrainingStatus = "idle"
    if seen.run is not None and seen.run.state != "ended":
        status = seen.run.state
    elif seen.last_run is not None and seen.last_run.outcome in ("failed", "stopped"):
        status = "failed"
    return TrainingView(status=status, run=seen.run, last_run=seen.last_run)


def quality_view(found: QualitySums, items: int | None) -> QualityView:
    """Ratios of sums; undefined ones are null.

    Args:
        items: how many items the model has; None where that is no longer known.
    """
    sums = Counter(found.sums)
    return QualityView(
        model_version=found.version,
        day=found.day,
        lists=sums["lists"],
        click_rate=_ratio(sums["clicked"], sums["lists"]),
        hit_rate=_ratio(sums["hits"], sums["judged"]),
        map_at_10=_ratio(sums["average_precision"] / MILLION, sums["ranked"]),
        coverage=min(1.0, found.items_shown / items) if items and found.items_shown else None,
        diversity=_ratio(sums["diversity"] / MILLION, sums["diverse"]),
        rating_rmse=math.sqrt(sums["squared_error"] / MILLION / sums["ratings"]) if sums["ratings"] else None,
        ratings=sums["ratings"],
    )


def autopilot_view(seen: Observation, settings: AutopilotLimits) -> AutopilotView:
    """What autopilot may do, and what it last saw."""
    beat = seen.heartbeat
    return AutopilotView(
        mode=settings.mode,
        policy=settings.policy,
        looked_at=iso_time(beat.time_ms) if beat else None,
        watching=beat.watching if beat else None,
        failures_in_a_row=beat.failures if beat else None,
        quiet_until=iso_time(beat.quiet_until_ms) if beat and beat.quiet_until_ms > seen.time_ms else None,
        alerts=beat.alerts if beat else [],
        problems=beat.problems if beat else {},
    )


def learning_view(seen: Observation, threshold: int) -> LearningView:
    """What the platform has learned from."""
    totals = seen.telemetry.totals
    by_type = {name.partition(":")[2]: amount for name, amount in totals.items() if name.startswith("events:")}
    refused = sum(
        amount
        for name, amount in totals.items()
        if name.startswith("errors:events:") and name.rpartition(":")[2] in REFUSALS
    )
    return LearningView(
        events_total=sum(by_type.values()),
        events_by_type=dict(sorted(by_type.items())),
        events_per_minute=_recorded(seen.telemetry.recent) / seen.telemetry.window_s * 60,
        duplicates_total=totals["events_duplicate"],
        refused_total=refused + totals["events_refused"],
        features_refreshed_total=totals["features_refreshed"],
        fold_ins_total=totals["fold_ins"],
        events_since_training=events_since_training(seen),
        events_counted=seen.heartbeat.events_counted if seen.heartbeat else None,
        new_events_threshold=threshold,
    )


def _requests(telemetry: Telemetry, endpoint: str) -> RequestView:
    head = f"requests:{endpoint}:"
    total = {name.removeprefix(head): n for name, n in telemetry.totals.items() if name.startswith(head)}
    recent = {name: n for name, n in telemetry.recent.items() if name.startswith(head)}
    errors = f"errors:{endpoint}:"
    reached, failed = reached_and_failed(telemetry.recent, endpoint)
    return RequestView(
        total=sum(total.values()),
        per_second=sum(recent.values()) / telemetry.window_s,
        by_code=dict(sorted(total.items())),
        errors={name.removeprefix(errors): n for name, n in telemetry.totals.items() if name.startswith(errors)},
        error_share=_ratio(failed, reached),
        shed_total=telemetry.totals[f"errors:{endpoint}:overloaded"],
    )


def _recorded(counts: Mapping[str, int]) -> int:
    return sum(amount for name, amount in counts.items() if name.startswith("events:"))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
