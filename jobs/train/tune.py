"""The search for ALS parameters with Ray Tune. Its objective is `models.evaluation.held_out.ndcg_by_iteration`."""

import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.event_types import Weighting
from data.splits import inner_split
from jobs.launch.courtesy import step_back
from jobs.train.search_space import Iterations, Parameters, SearchSpace
from jobs.train.trial_log import TrialLog, trial_key
from models.evaluation.held_out import Fold, build_fold, ndcg_by_iteration
from models.factors.als import AlsParameters
from models.training.training_data import TrainingData

METRIC = "ndcg_at_10"
ONE_SPLIT = 500_000
MOST_EVENTS = 2_000_000


@dataclass(frozen=True)
class Trial:
    """One finished trial: its parameters, the mean NDCG@10 over the inner splits, and the single values.

    `error` says why a trial failed; its score is then NaN.
    """

    number: int
    parameters: AlsParameters
    score: float
    scores: tuple[float, ...]
    seconds: float
    error: str | None = None


class SearchError(RuntimeError):
    """The search ended without a usable trial."""


def inner_folds(data: TrainingData, space: SearchSpace, weighting: Weighting, seed: int) -> list[Fold]:
    """The splits on which every trial is judged; their seeds follow from `seed`.

    Of more than `ONE_SPLIT` events one split is enough: it judges so many users that another one says the same. Of more
    than `MOST_EVENTS`, only the users of a random part with about so many are looked at.
    """
    data = _sampled(data, seed)
    seeds = np.random.SeedSequence(seed).generate_state(space.inner_splits)
    folds = [
        build_fold(data, inner_split(data.user, int(split_seed), space.test_share), weighting)
        for split_seed in (seeds if len(data) <= ONE_SPLIT else seeds[:1])
    ]
    return [fold for fold in folds if len(fold.judged)]


def describe_folds(events: int, folds: Sequence[Fold]) -> str:
    """On what the trials are judged, in words."""
    splits = "1 inner split" if len(folds) == 1 else f"{len(folds)} inner splits"
    if events > MOST_EVENTS:
        return f"{splits} of the users of a random {MOST_EVENTS:,} of {events:,} events"
    return splits


def _sampled(data: TrainingData, seed: int) -> TrainingData:
    if len(data) <= MOST_EVENTS:
        return data
    chosen = np.random.default_rng(seed).random(len(data.users)) < MOST_EVENTS / len(data)
    return data.rows(np.flatnonzero(chosen[data.user]))


def objective(
    config: Mapping[str, Any], folds: Sequence[Fold], factors: int, seed: int, iterations: Iterations
) -> Iterator[dict[str, Any]]:
    """What one trial reports, after each step: its best moment so far, by the mean NDCG@10 over the folds.

    A trial stops by what it did itself, not by how others did before it: so the outcome of a search does not depend on
    the order in which trials happen to end.
    """
    parameters = AlsParameters(factors=factors, iterations=iterations.most, **config)
    moments = iterations.moments
    best: dict[str, Any] = {METRIC: -np.inf}
    before = -np.inf
    for done, scores in zip(
        moments, zip(*(ndcg_by_iteration(fold, parameters, seed, moments) for fold in folds), strict=True), strict=True
    ):
        mean = float(np.mean(scores))
        if mean > best[METRIC]:
            best = {METRIC: mean, "scores": list(scores), "iterations": done}
        yield {**best, "stopped_at": done}
        if mean < before + iterations.least_gain:
            return
        before = mean


def search(
    folds: Sequence[Fold],
    space: SearchSpace,
    factors: int,
    trials: int,
    seed: int,
    storage_dir: Path,
    log: TrialLog,
    on_trial: Callable[[Trial], None],
) -> list[Trial]:
    """Run the trials on the Ray to which this process is connected (see `jobs.launch.ray_session`).

    Args:
        folds: at least one, as `inner_folds` makes them.
        trials: how many, the points in `space.start` first.
        storage_dir: absolute; Tune's own files, removed at the end.
        log: finished trials are taken from there, and written there.
        on_trial: called for every trial as it ends, well or not.

    Returns:
        all trials, the best first, those that failed last.

    Raises:
        SearchError: none ended well.
    """
    import optuna
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    # The job's log is read by people who follow it: one line for each trial, and nothing else.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    name = f"search-{uuid.uuid4().hex[:12]}"
    known = log.read()
    finished: list[Trial] = []

    def ended(trial: Any, number: int, result: Mapping[str, Any], error: str | None) -> None:
        config = {name: float(value) for name, value in trial.config.items()}
        parameters = AlsParameters(
            factors=factors, iterations=result.get("iterations", space.iterations.most), **config
        )
        done = Trial(
            number,
            parameters,
            result.get(METRIC, np.nan) if error is None else np.nan,
            tuple(result.get("scores", ())),
            round(result.get("time_total_s", 0.0), 2),
            error,
        )
        finished.append(done)
        if error is None and trial_key(config) not in known:
            log.add(config, {key: result[key] for key in (METRIC, "scores", "iterations", "stopped_at")})
        on_trial(done)

    class Report(tune.Callback):
        # Trials run side by side: they are numbered as the searcher proposed them, whichever starts first.
        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: object) -> None:
            ended(trial, trials.index(trial) + 1, trial.last_result, None)

        def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: object) -> None:
            ended(trial, trials.index(trial) + 1, trial.last_result, _reason(trial))

    domains = {
        key: tune.loguniform(*bounds.log_uniform) if bounds.log_uniform else tune.choice(bounds.choice)
        for key, bounds in ((key, getattr(space.parameters, key)) for key in Parameters.model_fields)
    }
    searcher = OptunaSearch(
        metric=METRIC,
        mode="max",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(len(space.start), 2 * space.batch)),
        points_to_evaluate=[point.model_dump() for point in space.start][:trials],
    )
    trainable = tune.with_parameters(
        _trial, folds=list(folds), factors=factors, seed=seed, iterations=space.iterations, known=known
    )
    try:
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": space.cpus_per_trial}),
            param_space=domains,
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode="max",
                search_alg=ConcurrencyLimiter(searcher, max_concurrent=space.batch, batch=True),
                num_samples=trials,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(name=name, storage_path=str(storage_dir), verbose=0, callbacks=[Report()]),
        ).fit()
    finally:
        shutil.rmtree(storage_dir / name, ignore_errors=True)
    usable = [trial for trial in finished if np.isfinite(trial.score)]
    if not usable:
        why = next((f": {trial.error}" for trial in finished if trial.error), "")
        raise SearchError(f"none of the {trials} trials gave a score{why}")
    failed = [trial for trial in finished if not np.isfinite(trial.score)]
    return sorted(usable, key=lambda trial: (-trial.score, trial.number)) + sorted(failed, key=lambda t: t.number)


def _reason(trial: Any) -> str:
    """The last line of the trial's traceback."""
    try:
        text = Path(trial.error_file).read_text()
    except (OSError, TypeError):
        return "it failed without a message"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it failed without a message"


def _trial(
    config: dict[str, Any],
    folds: Sequence[Fold],
    factors: int,
    seed: int,
    iterations: Iterations,
    known: Mapping[str, dict[str, Any]],
) -> None:
    from ray import tune

    step_back()

    before = known.get(trial_key(config))
    for report in objective(config, folds, factors, seed, iterations) if before is None else (before,):
        tune.report(report)
