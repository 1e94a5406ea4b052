"""`python -m jobs.retrain`: search, evaluate, fit, publish.

The order of publishing is: bundle (one rename), then registry, then slot. Whatever kills the job, there is never a
slot that points at something unfinished; what the registry missed waits on disk for the next training.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs import clock
from configs.settings import PROJECT_DIR, Settings, SettingsError, load_settings
from data.dataset import DataError, load_dataset
from data.prepare import processed_dir
from features.redis.errors import StoreError
from features.serving.retraining_run import RunResult
from features.serving.slots import CHAMPION
from jobs.launch.courtesy import step_back
from jobs.launch.ray_session import ray_session
from jobs.maintenance.compact import compact
from jobs.train.erasures import current_erasures
from jobs.train.fit_bundle import cutoff, evaluate_latest, fit_bundle, remove_old_bundles
from jobs.train.load_data import load_training_data
from jobs.train.mlflow_registry import MlflowRegistry, RegistryUnavailable
from jobs.train.one_at_a_time import only_retraining
from jobs.train.publication import Publication, TrialRecord, keep_pending, read_pending
from jobs.train.read_shown_lists import read_shown_lists
from jobs.train.retrain_report import describe_data, describe_metrics, describe_ranker
from jobs.train.search_space import SPACE_FILE, load_search_space
from jobs.train.store_calls import current_slots, point_slot, tell_result
from jobs.train.trial_log import TrialLog
from jobs.train.tune import METRIC, SearchError, Trial, inner_folds, search
from models.bundle.arrays import BundleError
from models.bundle.manifest import Manifest
from models.bundle.reading import load_bundle, read_manifest
from models.evaluation.gate import Footprint, Verdict, judge
from models.factors.als import AlsParameters
from models.training.first_stage import ItemFacts, read_catalogue
from models.training.past_requests import in_store_order
from models.training.ranker_judgement import SecondStage, judge_champion, train_second_stage
from models.training.ranker_windows import LATEST, RANKER, Recipe, moment_of
from models.training.shown_list_rows import Logged
from models.training.training_data import TrainingData

Report = Callable[[int, str], None]


@dataclass(frozen=True)
class RetrainOptions:
    """What the command line asks for; None takes the setting."""

    trials: int | None = None
    seed: int | None = None
    fixed: AlsParameters | None = None
    slot: str | None = "champion"
    reason: str = "a person asked for it"
    force: bool = False
    """Take the slot whatever the gate says."""
    run_id: str | None = None
    """Under which the result is told to whoever waits for it."""


@dataclass(frozen=True)
class Result:
    """The model that a retraining made, and what the registry and the gate said of it."""

    version: str
    path: Path
    parameters: AlsParameters
    metrics: dict[str, float]
    registered_as: str | None
    verdict: Verdict


def retrain(settings: Settings, options: RetrainOptions, report: Report) -> Result:
    """Train and publish one model.

    Args:
        settings: see `configs.settings`.
        options: see `RetrainOptions`.
        report: called with percent done and one line.

    Raises:
        DataError: no data, or too little.
        SearchError: no trial gave a score.
        StoreBusy: another retraining runs; names its job.
        StoreError: before the training, the store does not answer, so it is not known what is new and whom to leave
            out; after it, the slot could not be set, and the bundle is written.
    """
    with only_retraining(settings):
        return _retrain(settings, options, report)


def _retrain(settings: Settings, options: RetrainOptions, report: Report) -> Result:
    started_ms = clock.now_ms()
    seed = settings.training.seed if options.seed is None else options.seed
    # Training reads the log, and what was acknowledged a moment ago is still in the streams.
    drained = asyncio.run(compact(settings))
    report(1, f"{drained.events} new events moved into the log")
    data = load_training_data(settings, current_erasures(settings))
    report(2, describe_data(data))
    trials = [] if options.fixed else _search(settings, options, data, seed, report)
    parameters = options.fixed or (trials[0].parameters if trials else AlsParameters(factors=settings.training.factors))

    metrics = evaluate_latest(data, settings, parameters, seed)
    report(72, describe_metrics(metrics))
    if trials:
        metrics = {**metrics, f"search_{METRIC}": trials[0].score}
        if failed := sum(trial.error is not None for trial in trials):
            report(72, f"{failed} of {len(trials)} trials failed")
            metrics["failed_trials"] = float(failed)

    catalogue = read_catalogue(data, load_dataset(processed_dir(settings)).items)
    ordered = in_store_order(data)
    second = _second_stage(settings, ordered, catalogue, parameters, seed)
    if second is not None:
        metrics |= second.metrics
    report(80, describe_ranker(second, settings))
    logged_note = second.logged_note if second else "too little data for a ranker"
    report(80, f"lists that were shown: {logged_note}")

    path = fit_bundle(data, settings, parameters, seed, metrics, second.ranker if second else None, catalogue)
    loading = time.perf_counter()
    manifest = load_bundle(path).manifest
    footprint = Footprint(
        time.perf_counter() - loading, sum(file.stat().st_size for file in path.iterdir()) / 1_000_000
    )
    report(85, f"bundle {manifest.version} written and verified ({footprint.size_mb:.1f} MB)")
    verdict = _gate(settings, ordered, catalogue, second, footprint, seed)
    takes_slot = options.slot is not None and (options.force or options.slot != CHAMPION or verdict.promote)
    report(88, str(verdict) + ("; forced" if options.force and not verdict.promote else ""))

    publication = Publication(
        version=manifest.version,
        uri=str(path),
        manifest=manifest.model_dump_json(indent=2),
        parameters={
            **{name: str(value) for name, value in parameters.model_dump().items()},
            "weighting": manifest.weighting,
            "event_preset": manifest.event_preset,
            "seed": str(seed),
        },
        metrics=metrics,
        tags={
            "content_hash": manifest.content_hash,
            "data_fingerprint": data.fingerprint,
            "data_name": data.name,
            "log_events": str(data.log_events),
            "reason": options.reason,
            "gate": str(verdict),
            "logged_lists": logged_note,
            **_git_tags(),
        },
        trials=[
            TrialRecord(
                number=trial.number,
                parameters={name: float(value) for name, value in trial.parameters.model_dump().items()},
                metrics={}
                if trial.error
                else {METRIC: trial.score, **{f"{METRIC}_split_{i}": s for i, s in enumerate(trial.scores, 1)}},
                seconds=trial.seconds,
                error=trial.error,
            )
            for trial in trials
        ],
        started_ms=started_ms,
        finished_ms=clock.now_ms(),
    )
    keep_pending(_pending_dir(settings), publication)
    slot = options.slot if takes_slot else None
    registered = _deliver(settings, publication.version, slot, report)
    if slot is not None:
        reason = f"{options.reason}; {verdict}" if slot == CHAMPION else options.reason
        point_slot(settings, slot, manifest.version, str(path), reason)
        report(98, f"slot {slot} serves {manifest.version}")
    if options.run_id is not None:
        tell_result(
            settings,
            options.run_id,
            RunResult(
                version=manifest.version, uri=str(path), passed=verdict.promote, reasons=str(verdict), metrics=metrics
            ),
        )
    _clean(settings, report)
    report(100, f"done in {(clock.now_ms() - started_ms) / 1000:.1f} s")
    return Result(manifest.version, path, parameters, metrics, registered, verdict)


def _search(settings: Settings, options: RetrainOptions, data: TrainingData, seed: int, report: Report) -> list[Trial]:
    space = load_search_space(settings.training.search_space or SPACE_FILE)
    count = options.trials or settings.training.trials
    folds = inner_folds(data.rows(cutoff(data).train), space, settings.training.weighting, seed)
    if not folds:
        report(70, "too little data to search parameters on; taking the defaults")
        return []
    done = 0

    def on_trial(trial: Trial) -> None:
        nonlocal done
        done += 1
        p = trial.parameters
        text = f"regularization {p.regularization:.2f}, alpha {p.alpha:.2f}, weight power {p.weight_power:g}"
        if trial.error is None:
            text = (
                f"NDCG@10 {trial.score:.4f} over {len(trial.scores)} inner splits after {p.iterations} iterations "
                f"({text})"
            )
        else:
            text = f"failed, the others go on ({text}): {trial.error}"
        report(5 + 65 * done // count, f"trial {trial.number} of {count}: {text}")

    directory = settings.state_dir / "tune"
    defines = {
        "data": data.fingerprint,
        "weighting": settings.training.weighting,
        "preset": settings.data.events,
        "factors": settings.training.factors,
        "seed": seed,
    }
    log = TrialLog(directory, space, defines)
    if known := len(log.read()):
        report(5, f"going on with a search that was cut off after {known} trials")
    report(5, f"searching: {count} trials with Ray Tune")
    with ray_session(settings):
        trials = search(folds, space, settings.training.factors, count, seed, directory, log, on_trial)
    log.remove()
    return trials


def champion_manifest(settings: Settings) -> Manifest | None:
    """The manifest of the bundle that the champion's slot serves; None where there is none that can be read.

    Raises:
        StoreError: the slots cannot be read.
    """
    slot = current_slots(settings).get(CHAMPION)
    if slot is None:
        return None
    try:
        return read_manifest(slot.path)
    except BundleError:
        return None  # it cannot serve either, so there is nobody to be better than


def _second_stage(
    settings: Settings, data: TrainingData, catalogue: ItemFacts, parameters: AlsParameters, seed: int
) -> SecondStage | None:
    """The ranker and its judgement; None where no event before the latest window speaks for any item."""
    training = settings.training
    recipe = Recipe(
        training.weighting,
        parameters,
        settings.serving.prior_weight,
        settings.serving.candidates,
        training.trending_candidates,
    )
    ranker = RANKER.model_copy(update={"trees": training.ranker_trees}) if training.ranker else None
    logged = None
    if ranker is not None and training.logged_lists:
        lists = read_shown_lists(settings, data, moment_of(data, LATEST), training.logged_lists)
        logged = Logged(lists, training.fewest_logged_lists, training.propensity_clip)
    try:
        return train_second_stage(data, catalogue, recipe, ranker, seed, training.threads, logged)
    except ValueError:
        return None


def _gate(
    settings: Settings,
    data: TrainingData,
    catalogue: ItemFacts,
    second: SecondStage | None,
    footprint: Footprint,
    seed: int,
) -> Verdict:
    if second is None:
        return Verdict(True, ("too little data to compare models on",))
    champion = champion_manifest(settings)
    judged = (
        None if champion is None else judge_champion(data, catalogue, champion, second, seed, settings.training.threads)
    )
    return judge(judged, second.judged, footprint, settings.training, seed)


def _deliver(settings: Settings, version: str, slot: str | None, report: Report) -> str | None:
    """Give the registry this publication and whatever it missed before. Returns this one's number there."""
    number = None
    try:
        registry = MlflowRegistry(settings)
        for path, publication in read_pending(_pending_dir(settings)):
            # Only the newest sets an alias: an older one's slot may have moved on since.
            mine = publication.version == version
            given = registry.publish(publication, slot if mine else None)
            path.unlink(missing_ok=True)
            number = given if mine else number
            report(92, f"registered {publication.version} as {registry.model} version {given}")
    except RegistryUnavailable as error:
        report(92, f"the registry did not take it ({error}); kept in {_pending_dir(settings)} for the next training")
    return number


def _clean(settings: Settings, report: Report) -> None:
    try:
        protected = {slot.version for slot in current_slots(settings).values()}
    except StoreError as error:
        report(99, f"old bundles stay, since the slots cannot be read ({error})")
        return
    protected |= {publication.version for _, publication in read_pending(_pending_dir(settings))}
    removed = remove_old_bundles(settings.bundles_dir, settings.training.keep_bundles, protected)
    if removed:
        report(99, f"removed {len(removed)} old bundles")


def _pending_dir(settings: Settings) -> Path:
    return settings.state_dir / "pending_publications"


def _git_tags() -> dict[str, str]:
    command = ["git", "-C", str(PROJECT_DIR), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}  # an image without git, or not a work tree: the version is then that of the package
    return {"git_revision": found.stdout.strip()}


def parse_options(arguments: Sequence[str], settings: Settings) -> RetrainOptions:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.retrain", description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, help="number of trials of the search")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--no-search", action="store_true", help="train with the parameters given here")
    defaults = AlsParameters(factors=settings.training.factors)
    parser.add_argument("--regularization", type=float, default=defaults.regularization)
    parser.add_argument("--alpha", type=float, default=defaults.alpha)
    parser.add_argument("--iterations", type=int, default=defaults.iterations)
    parser.add_argument("--weight-power", type=float, default=defaults.weight_power)
    parser.add_argument("--slot", choices=["champion", "challenger", "none"], default="champion")
    parser.add_argument("--force", action="store_true", help="take the champion's slot whatever the gate says")
    parser.add_argument("--reason", default=RetrainOptions.reason, help="written beside the decision")
    parser.add_argument("--run", metavar="ID", help="under which the result is told to autopilot")
    given = parser.parse_args(arguments)
    if given.trials is not None and given.trials < 1:
        parser.error("--trials must be at least 1")
    fixed = None
    if given.no_search:
        fixed = AlsParameters(
            factors=settings.training.factors,
            regularization=given.regularization,
            alpha=given.alpha,
            iterations=given.iterations,
            weight_power=given.weight_power,
        )
    slot = None if given.slot == "none" else given.slot
    return RetrainOptions(given.trials, given.seed, fixed, slot, given.reason, given.force, given.run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 with one plain line when it cannot be done."""
    started = time.perf_counter()

    def report(percent: int, line: str) -> None:
        print(f"[{percent:3d} %] {time.perf_counter() - started:5.1f} s  {line}", flush=True)

    step_back()
    try:
        settings = load_settings()
        retrain(settings, parse_options(sys.argv[1:] if arguments is None else arguments, settings), report)
    except (DataError, SearchError, SettingsError, StoreError) as error:
        print(f"retrain: {error}", file=sys.stderr, flush=True)
        return 1
    return 0
