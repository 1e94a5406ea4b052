"""Publishing: a trained bundle -> registry -> slot, aliases -> the result for whoever asked -> old bundles removed.

The bundle is on disk by then. What the registry misses waits on disk for the next training, and the slot is set last,
so that whatever kills the job, no slot points at something unfinished.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from configs import clock
from configs.settings import PROJECT_DIR, Settings
from features.redis.errors import StoreError
from features.serving.run_record import RunResult
from features.serving.serving_state import StateConflictError
from features.serving.slots import CHAMPION
from jobs.launch.training_command import Report
from jobs.train.fit_bundle import remove_old_bundles
from jobs.train.mlflow_registry import MlflowRegistry, RegistryUnavailable
from jobs.train.publication import Publication, TrialRecord, keep_pending, read_pending
from jobs.train.store_calls import current_state, follow_slots, point_slot, tell_result
from jobs.train.tune import METRIC, Trial
from models.bundle.manifest import Manifest
from models.evaluation.gate import GateVerdict
from models.factors.als import AlsParameters
from models.sequence.parameters import SequenceParameters
from models.training.training_data import TrainingData


@dataclass(frozen=True)
class Trained:
    """A bundle on disk, what it was trained with, and what the gate said of it.

    Attributes:
        path: the bundle's directory.
        logged_note: one line about the lists that were shown: whether the ranker learned from them, or why not.
        trials: the trials of the search, empty where there was none.
        reason: why the training was asked for.
        started_ms: when the training started, milliseconds since the epoch.
        forced: a person lets it take its slot whatever the gate says.
    """

    path: Path
    manifest: Manifest
    data: TrainingData
    parameters: AlsParameters | SequenceParameters
    seed: int
    metrics: dict[str, float]
    logged_note: str
    trials: list[Trial]
    verdict: GateVerdict
    reason: str
    started_ms: int
    forced: bool = False

    @property
    def decision(self) -> str:
        """What decided on its slot, in words."""
        if self.forced and not self.verdict.promote:
            return f"forced over the gate: {'; '.join(self.verdict.reasons)}"
        return str(self.verdict)


@dataclass(frozen=True)
class Published:
    """What became of a trained model.

    Attributes:
        registered_as: the number of the model version in the registry; None where the registry did not take it.
        not_served: why the slot does not serve it; None where it does, or where no slot was wanted.
    """

    registered_as: str | None
    not_served: str | None


def publish(settings: Settings, trained: Trained, slot: str | None, who: str, seen: int, report: Report) -> Published:
    """Register the model, then let `slot` serve it.

    Args:
        settings: where registry, store and state lie.
        trained: the model.
        slot: "champion" or "challenger"; None to leave the slots alone.
        who: whose decision it is to serve it, for the timeline.
        seen: version of the serving state on which the model was judged; a slot that was changed since is left alone.
        report: called with percent done and one line.

    Raises:
        StoreError: the slot could not be set; the bundle and its publication are on disk.
    """
    version = trained.manifest.version
    keep_pending(_pending_dir(settings), publication_of(trained))
    registered = _deliver(settings, version, report)
    if slot is None:
        return Published(registered, None)
    reason = f"{trained.reason}; {trained.decision}" if slot == CHAMPION else trained.reason
    try:
        point_slot(settings, slot, version, str(trained.path), reason, who, seen)
    except StateConflictError as error:
        report(98, f"slot {slot} does not serve {version}: {error}")
        return Published(registered, str(error))
    report(98, f"slot {slot} serves {version}")
    if registered is not None and (problem := follow_slots(settings)):
        report(98, f"the registry's aliases follow later: {problem}")
    return Published(registered, None)


def tell_asker(settings: Settings, run_id: str, trained: Trained, not_served: str | None) -> None:
    """Tell the result under `run_id` to whoever waits for it. Raises `features.redis.errors.StoreError`."""
    verdict = trained.verdict
    result = RunResult(
        version=trained.manifest.version,
        uri=str(trained.path),
        passed=verdict.promote,
        reasons=str(verdict),
        metrics=trained.metrics,
        not_served=not_served,
    )
    tell_result(settings, run_id, result)


def remove_unused_bundles(settings: Settings, report: Report) -> None:
    """Delete old bundles that no slot serves or may have to serve again, and that the registry does not wait for."""
    try:
        state = current_state(settings)
    except StoreError as error:
        report(99, f"old bundles stay, since the slots cannot be read ({error})")
        return
    protected = {slot.version for slot in state.slots.values()} | ({state.guard.previous} if state.guard else set())
    protected |= {publication.version for _, publication in read_pending(_pending_dir(settings))}
    removed = remove_old_bundles(settings.bundles_dir, settings.training.keep_bundles, protected)
    if removed:
        report(99, f"removed {len(removed)} old bundles")


def publication_of(trained: Trained) -> Publication:
    """What the registry is told of a model, with the present as the time of its end."""
    manifest, data = trained.manifest, trained.data
    return Publication(
        version=manifest.version,
        uri=str(trained.path),
        manifest=manifest.model_dump_json(indent=2),
        parameters={
            **{name: str(value) for name, value in trained.parameters.model_dump().items()},
            "weighting": manifest.weighting,
            "event_preset": manifest.event_preset,
            "seed": str(trained.seed),
        },
        metrics=trained.metrics,
        tags={
            "content_hash": manifest.content_hash,
            "data_fingerprint": data.fingerprint,
            "data_name": data.name,
            "log_events": str(data.log_events),
            "reason": trained.reason,
            "gate": str(trained.verdict),
            "logged_lists": trained.logged_note,
            **_git_tags(),
        },
        trials=[_trial_record(trial) for trial in trained.trials],
        started_ms=trained.started_ms,
        finished_ms=clock.now_ms(),
    )


def _trial_record(trial: Trial) -> TrialRecord:
    splits = {f"{METRIC}_split_{number}": score for number, score in enumerate(trial.scores, 1)}
    return TrialRecord(
        number=trial.number,
        parameters={name: float(value) for name, value in trial.parameters.model_dump().items()},
        metrics={} if trial.error else {METRIC: trial.score, **splits},
        seconds=trial.seconds,
        error=trial.error,
    )


def _deliver(settings: Settings, version: str, report: Report) -> str | None:
    """Give the registry this publication and whatever it missed before. Returns this one's number there."""
    number = None
    try:
        registry = MlflowRegistry(settings)
        for path, publication in read_pending(_pending_dir(settings)):
            given = registry.publish(publication)
            path.unlink(missing_ok=True)
            number = given if publication.version == version else number
            report(92, f"registered {publication.version} as {registry.model} version {given}")
    except RegistryUnavailable as error:
        report(92, f"the registry did not take it ({error}); kept in {_pending_dir(settings)} for the next training")
    return number


def _pending_dir(settings: Settings) -> Path:
    return settings.state_dir / "pending_publications"


def _git_tags() -> dict[str, str]:
    command = ["git", "-C", str(PROJECT_DIR), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}  # an image without git, or not a work tree: the version is then that of the package
    return {"git_revision": found.stdout.strip()}
