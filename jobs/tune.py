"""The search for ALS parameters with Ray Tune; the objective itself is `jobs.evaluation.mean_ndcg`."""

import logging
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.event_types import CONFIGS_DIR, Weighting
from configs.settings import SettingsError
from data.splits import inner_split
from jobs.evaluation import Fold, build_fold, mean_ndcg
from jobs.training_data import TrainingData
from models.als import AlsParameters

METRIC = "ndcg_at_10"
SPACE_FILE = CONFIGS_DIR / "search_space.yaml"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(_Part):
    """Where one parameter is looked for."""

    log_uniform: tuple[float, float] | None = None
    choice: list[int | float] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "Range":
        if (self.log_uniform is None) == (self.choice is None):
            raise ValueError("give either log_uniform or choice")
        if self.log_uniform is not None and not 0 < self.log_uniform[0] < self.log_uniform[1]:
            raise ValueError("log_uniform needs 0 < low < high")
        if self.choice is not None and not self.choice:
            raise ValueError("choice needs at least one value")
        return self


class Parameters(_Part):
    regularization: Range
    alpha: Range
    iterations: Range
    weight_power: Range


class Point(_Part):
    regularization: float = Field(gt=0)
    alpha: float = Field(gt=0)
    iterations: int = Field(ge=1)
    weight_power: float = Field(ge=0, le=2)


class SearchSpace(_Part):
    """`configs/search_space.yaml`; see there for each field."""

    parameters: Parameters
    start: list[Point]
    inner_splits: int = Field(ge=1)
    test_share: float = Field(gt=0, lt=1)
    cpus_per_trial: float = Field(gt=0)
    concurrent: int | None = Field(ge=1)


@dataclass(frozen=True)
class Trial:
    """One finished trial: its parameters, the mean NDCG@10 over the inner splits, and the single values."""

    number: int
    parameters: AlsParameters
    score: float
    scores: tuple[float, ...]
    seconds: float


class SearchError(RuntimeError):
    """The search ended without a usable trial."""


def load_search_space(path: Path = SPACE_FILE) -> SearchSpace:
    """Read the search space. Raises `SettingsError` naming the key that is wrong."""
    try:
        return SearchSpace(**yaml.safe_load(path.read_text()))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{path.name}: {where}: {first['msg']}") from error


def inner_folds(data: TrainingData, space: SearchSpace, weighting: Weighting, seed: int) -> list[Fold]:
    """The splits on which every trial is judged; their seeds follow from `seed`."""
    seeds = np.random.SeedSequence(seed).generate_state(space.inner_splits)
    folds = [
        build_fold(data, inner_split(data.user, int(split_seed), space.test_share), weighting) for split_seed in seeds
    ]
    return [fold for fold in folds if len(fold.judged)]


def objective(config: dict[str, Any], folds: Sequence[Fold], factors: int, seed: int) -> dict[str, Any]:
    """What one trial reports: NDCG@10 of each fold and their mean."""
    parameters = AlsParameters(factors=factors, **config)
    scores = [mean_ndcg(fold, parameters, seed) for fold in folds]
    return {METRIC: float(np.mean(scores)), "scores": scores}


def search(
    folds: Sequence[Fold],
    space: SearchSpace,
    factors: int,
    trials: int,
    seed: int,
    storage_dir: Path,
    on_trial: Callable[[Trial], None],
) -> list[Trial]:
    """Run the trials on the Ray to which this process is connected (see `jobs.ray_session`).

    Args:
        folds: see `inner_folds`; at least one.
        trials: how many, the points in `space.start` first.
        storage_dir: absolute; Tune's own files, removed at the end.
        on_trial: called for every trial as it ends.

    Returns:
        the trials that ended well, best first.

    Raises:
        SearchError: none did.
    """
    import optuna
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    # The job's log is read by people who follow it: one line for each trial, and nothing else.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("ray.tune").setLevel(logging.WARNING)
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    name = f"search-{uuid.uuid4().hex[:12]}"
    numbers: dict[str, int] = {}
    finished: list[Trial] = []

    class Report(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: object) -> None:
            result = trial.last_result
            if METRIC not in result:
                return
            number = numbers.setdefault(trial.trial_id, len(numbers) + 1)
            parameters = AlsParameters(factors=factors, **trial.config)
            done = Trial(number, parameters, result[METRIC], tuple(result["scores"]), round(result["time_total_s"], 2))
            finished.append(done)
            on_trial(done)

    domains = {
        key: tune.loguniform(*bounds.log_uniform) if bounds.log_uniform else tune.choice(bounds.choice)
        for key, bounds in ((key, getattr(space.parameters, key)) for key in Parameters.model_fields)
    }
    searcher = OptunaSearch(
        metric=METRIC,
        mode="max",
        seed=seed,
        points_to_evaluate=[point.model_dump() for point in space.start][:trials],
    )
    trainable = tune.with_parameters(_trial, folds=list(folds), factors=factors, seed=seed)
    try:
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": space.cpus_per_trial}),
            param_space=domains,
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode="max",
                search_alg=searcher,
                num_samples=trials,
                max_concurrent_trials=space.concurrent,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(name=name, storage_path=str(storage_dir), verbose=0, callbacks=[Report()]),
        ).fit()
    finally:
        shutil.rmtree(storage_dir / name, ignore_errors=True)
    usable = [trial for trial in finished if np.isfinite(trial.score)]
    if not usable:
        raise SearchError(f"none of the {trials} trials gave a score; see the Ray dashboard for their errors")
    return sorted(usable, key=lambda trial: (-trial.score, trial.number))


def _trial(config: dict[str, Any], folds: Sequence[Fold], factors: int, seed: int) -> None:
    from ray import tune

    tune.report(objective(config, folds, factors, seed))
