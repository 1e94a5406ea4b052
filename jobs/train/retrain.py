"""`python -m jobs.retrain`: data -> search -> evaluation -> ranker -> bundle -> gate -> `publish`."""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from configs import clock
from configs.settings import Settings
from features.serving.serving_state import PERSON, ServingState, retraining_of
from features.serving.slots import CHAMPION
from features.streams.compaction import compact
from jobs.batch.serving_stage import catalogue_with_events
from jobs.launch.ray_session import ray_session
from jobs.launch.training_command import Report, run_training
from jobs.train.erasures import current_erasures
from jobs.train.fit_bundle import cutoff, evaluate_latest, fit_bundle
from jobs.train.load_data import load_training_data
from jobs.train.one_at_a_time import only_retraining
from jobs.train.publish import Trained, publish, remove_unused_bundles, tell_asker
from jobs.train.read_shown_lists import read_shown_lists
from jobs.train.retrain_report import (
    TOO_LITTLE,
    describe_data,
    describe_metrics,
    describe_second_stage,
    ranker_progress,
    time_left,
)
from jobs.train.search_space import SPACE_FILE, load_search_space
from jobs.train.store_calls import current_state
from jobs.train.trial_log import TrialLog
from jobs.train.tune import METRIC, SearchError, Trial, describe_folds, inner_folds, search
from models.bundle.arrays import BundleError
from models.bundle.manifest import Manifest
from models.bundle.reading import Bundle, load_bundle
from models.evaluation.gate import Footprint, GateVerdict, judge
from models.factors.als import AlsParameters
from models.relations.more_sources import NO_MORE
from models.training.bundle_stage import stage_of_bundle
from models.training.item_facts import ItemFacts
from models.training.past_requests import in_store_order
from models.training.ranker_judgement import SecondStage, judge_stage, judged_from, train_second_stage
from models.training.ranker_windows import RANKER, Recipe, moment_of
from models.training.shown_list_rows import Logged
from models.training.training_data import TrainingData


@dataclass(frozen=True)
class RetrainOptions:
    """What the command line asks for; None takes the setting."""

    trials: int | None = None
    seed: int | None = None
    fixed: AlsParameters | None = None
    slot: str | None = "champion"
    reason: str = "a person asked for it"
    who: str | None = None
    """Whose decision it is, for the timeline; None for a person, or for a run of which that is not told."""
    force: bool = False
    """Take the slot whatever the gate says."""
    run_id: str | None = None
    """The id under which the result is told to whoever waits for it; None tells nobody."""

    @property
    def decides(self) -> str:
        """Who lets the model serve: whoever asked by hand, or the retraining with its gate."""
        return (self.who or PERSON) if self.run_id is None else retraining_of(self.run_id, self.who)


@dataclass(frozen=True)
class Result:
    """The model that a retraining made, and what the registry and the gate said of it."""

    version: str
    path: Path
    parameters: AlsParameters
    metrics: dict[str, float]
    registered_as: str | None
    verdict: GateVerdict


def retrain(settings: Settings, options: RetrainOptions, report: Report) -> Result:
    """Train and publish one model.

    Args:
        settings: where data, store and registry lie, and how to train.
        options: what differs from the settings this time.
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
    data = read_events(settings, report)
    trials = [] if options.fixed else _search(settings, options, data, seed, report)
    parameters = options.fixed or (trials[0].parameters if trials else AlsParameters(factors=settings.training.factors))
    metrics = _evaluate(settings, data, parameters, trials, seed, report)
    catalogue = catalogue_with_events(settings, data)
    data = in_store_order(data)  # the order that was read is not needed any more, and takes as much memory
    # The state is read before the models meet: a slot that is changed meanwhile is left alone.
    state = current_state(settings)
    champion = bundle_of_champion(state)
    second = _second_stage(settings, data, catalogue, parameters, seed, champion, report)
    if second is not None:
        metrics |= second.metrics
    logged_note = second.logged_note if second else TOO_LITTLE
    for line in describe_second_stage(second, settings):
        report(85, line)

    ranker = second.ranker if second else None
    path = fit_bundle(data, settings, parameters, seed, metrics, ranker, catalogue, partial(report, 87))
    manifest, footprint = verified(path)
    report(90, f"bundle {manifest.version} written and verified ({footprint.size_mb:.1f} MB)")
    verdict = verdict_on(settings, data, catalogue, second, champion, footprint, seed)

    trained = Trained(
        path, manifest, data, parameters, seed, metrics, logged_note, trials, verdict, options.reason, started_ms,
        options.force,
    )  # fmt: skip
    report(91, trained.decision)
    slot = options.slot if options.force or options.slot != CHAMPION or verdict.promote else None
    published = publish(settings, trained, slot, options.decides, state.version, report)
    if options.run_id is not None:
        tell_asker(settings, options.run_id, trained, published.not_served)
    remove_unused_bundles(settings, report)
    report(100, f"done in {(clock.now_ms() - started_ms) / 1000:.1f} s")
    return Result(manifest.version, path, parameters, metrics, published.registered_as, verdict)


def read_events(settings: Settings, report: Report) -> TrainingData:
    # Training reads the log, and what was acknowledged a moment ago is still in the streams.
    drained = asyncio.run(compact(settings))
    report(1, f"{drained.events} new events moved into the log")
    data = load_training_data(settings, current_erasures(settings))
    for line in describe_data(data):
        report(2, line)
    return data


def _search(settings: Settings, options: RetrainOptions, data: TrainingData, seed: int, report: Report) -> list[Trial]:
    space = load_search_space(settings.training.search_space or SPACE_FILE)
    count = options.trials or settings.training.trials
    known = data.rows(cutoff(data, seed).train)
    folds = inner_folds(known, space, settings.training.weighting, seed)
    if not folds:
        report(45, "too little data to search parameters on; taking the defaults")
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
        left = time_left(time.perf_counter() - started, done / count)
        report(5 + 40 * done // count, f"trial {trial.number} of {count}: {text}{left}")

    directory = settings.state_dir / "tune"
    defines = {
        "data": data.fingerprint,
        "weighting": settings.training.weighting,
        "preset": settings.data.events,
        "factors": settings.training.factors,
        "seed": seed,
    }
    log = TrialLog(directory, space, defines)
    if before := len(log.read()):
        report(5, f"going on with a search that was cut off after {before} trials")
    report(5, f"searching: {count} trials with Ray Tune on {describe_folds(len(known), folds)}")
    started = time.perf_counter()
    with ray_session(settings):
        trials = search(folds, space, settings.training.factors, count, seed, directory, log, on_trial)
    log.remove()
    return trials


def _evaluate(
    settings: Settings,
    data: TrainingData,
    parameters: AlsParameters,
    trials: list[Trial],
    seed: int,
    report: Report,
) -> dict[str, float]:
    """The metrics on the latest tenth, and what the search found."""
    metrics = evaluate_latest(data, settings, parameters, seed)
    report(50, describe_metrics(metrics, data.time_trusted))
    if trials:
        metrics = {**metrics, f"search_{METRIC}": trials[0].score}
        if failed := sum(trial.error is not None for trial in trials):
            report(50, f"{failed} of {len(trials)} trials failed")
            metrics["failed_trials"] = float(failed)
    return metrics


def verified(path: Path) -> tuple[Manifest, Footprint]:
    """The manifest of a bundle that serving can load, and what loading it costs."""
    loading = time.perf_counter()
    manifest = load_bundle(path).manifest
    load_s = time.perf_counter() - loading
    return manifest, Footprint(load_s, sum(file.stat().st_size for file in path.iterdir()) / 1_000_000)


def bundle_of_champion(state: ServingState) -> Bundle | None:
    """The bundle that the champion's slot serves; None where there is none that can be read."""
    slot = state.slots.get(CHAMPION)
    if slot is None:
        return None
    try:
        return load_bundle(slot.path)
    except BundleError:
        return None  # it cannot serve either, so there is nobody to be better than


def _second_stage(
    settings: Settings,
    data: TrainingData,
    catalogue: ItemFacts,
    parameters: AlsParameters,
    seed: int,
    champion: Bundle | None,
    report: Report,
) -> SecondStage | None:
    """The ranker and its judgement; None where no event before the latest window speaks for any item."""
    training = settings.training
    recipe = Recipe(
        training.weighting,
        parameters,
        settings.serving.prior_weight,
        settings.serving.candidates,
        training.trending_candidates,
        settings.store.history_limit,
        settings.serving.trending_window,
        near_cells=settings.serving.near_cells,
        horizon_s=training.horizon_s,
    )
    ranker = RANKER.model_copy(update={"trees": training.ranker_trees}) if training.ranker else None
    known = None if champion is None else champion.manifest.created_ms
    latest = judged_from(data, known, training.fewest_judged_users)
    logged = None
    if ranker is not None and training.logged_lists:
        lists = read_shown_lists(settings, data, moment_of(data, latest), training.logged_lists)
        logged = Logged(lists, training.fewest_logged_lists, training.propensity_clip)
    try:
        return train_second_stage(
            data, catalogue, recipe, ranker, seed, training.threads, logged, latest, ranker_progress(report)
        )
    except ValueError:
        return None


def verdict_on(
    settings: Settings,
    data: TrainingData,
    catalogue: ItemFacts,
    second: SecondStage | None,
    champion: Bundle | None,
    footprint: Footprint,
    seed: int,
) -> GateVerdict:
    if second is None:
        return GateVerdict(champion is None, ("too little data to compare models on",))
    judged = None
    if champion is not None:
        how = settings.serving.prior_weight, settings.store.history_limit
        stage = stage_of_bundle(champion, data, catalogue, *how, near_cells=settings.serving.near_cells)
        facts, ranking = champion.manifest.ranker, champion.ranking
        judged = judge_stage(
            stage,
            second.requests,
            ranking.ranker if ranking is not None else None,
            facts.candidates if facts is not None else settings.serving.candidates,
            facts.trending if facts is not None else 0,
            facts.more if facts is not None else NO_MORE,
        )
    return judge(judged, second.judged, footprint, settings.training, seed)


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
    parser.add_argument("--who", help="who asks for it, written beside the decision; a person, if left out")
    parser.add_argument("--run", metavar="ID", help="the id under which the result is told to autopilot")
    given = parser.parse_args(arguments)
    if given.trials is not None and given.trials < 1:
        parser.error("--trials must be at least 1")
    fixed = None
    if given.no_search:
        searched = {name: getattr(given, name) for name in ("regularization", "alpha", "iterations", "weight_power")}
        fixed = AlsParameters(factors=settings.training.factors, **searched)
    slot = None if given.slot == "none" else given.slot
    return RetrainOptions(given.trials, given.seed, fixed, slot, given.reason, given.who, given.force, given.run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 with one plain line when it cannot be done."""

    def train(settings: Settings, report: Report) -> None:
        retrain(settings, parse_options(sys.argv[1:] if arguments is None else arguments, settings), report)

    return run_training("retrain", train, SearchError)
