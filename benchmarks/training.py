"""`python -m benchmarks.training [--trials 8]`: how long training takes, on the running stack.

Times the parts in this process, and the whole retraining as a user starts it: a Ray job with a search by Ray Tune. The
job's model is registered, but no slot is touched. Exit code 1 where the whole takes longer than the limit.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable

import numpy as np

from configs.settings import load_settings
from data.dataset import DataError
from data.matrix import pairs_to_csr
from features.redis.errors import StoreError
from jobs.launch.submit import SubmitError, follow_job, submit_job
from jobs.train.erasures import current_erasures
from jobs.train.load_data import load_training_data
from models.factors.als import AlsParameters, fit_als
from models.factors.fold_in import FoldIn
from models.retrieval.index import ItemIndex
from models.training.training_data import TrainingData

LIMIT_S = 60.0
_HISTORY = 20
_BATCH = 32


def main() -> int:
    """Print one line for each part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=8)
    given = parser.parse_args()
    settings = load_settings()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    try:
        erasures = current_erasures(settings)
        data = load_training_data(settings, erasures)
        print(f"{'read data set and log':44} {_median_s(lambda: load_training_data(settings, erasures), 3):8.3f} s")
        _parts(data, settings.training.factors)
        started = time.perf_counter()
        command = ["python", "-m", "jobs.retrain", "--trials", str(given.trials), "--slot", "none"]
        status = follow_job(settings, submit_job(settings, [*command, "--reason", "a benchmark"]))
        job_s = time.perf_counter() - started
    except (DataError, StoreError, SubmitError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    print(f"{f'retraining as a Ray job, {given.trials} trials':44} {job_s:8.1f} s (limit {LIMIT_S:.0f} s)")
    return 0 if status == "SUCCEEDED" and job_s <= LIMIT_S else 1


def _parts(data: TrainingData, n_factors: int) -> None:
    interest_s = _median_s(lambda: data.interest("preference"), 5)
    interest = data.interest("preference")
    weights = pairs_to_csr(interest.users, interest.items, interest.weights, len(data.users), len(data.items))
    parameters = AlsParameters(factors=n_factors)
    fit_s = _median_s(lambda: fit_als(weights, parameters, 0, threads=0), 3)
    factors = fit_als(weights, parameters, 0, threads=0)
    fold_in = FoldIn(
        factors.item_factors, parameters.regularization, parameters.alpha, factors.user_factors.mean(axis=0)
    )
    generator = np.random.default_rng(0)
    items = [generator.choice(len(data.items), _HISTORY, replace=False) for _ in range(_BATCH)]
    ones = [np.ones(_HISTORY, np.float32)] * _BATCH
    fold_in_s = _median_s(lambda: fold_in.solve(items, ones), 50) / _BATCH
    index = ItemIndex(factors.item_factors)
    search_s = _median_s(lambda: index.search(factors.user_factors[:1], 200), 50)
    print(f"{f'interest of {len(data):,} events':44} {interest_s:8.3f} s")
    print(f"{f'ALS fit, {n_factors} factors, 15 iterations':44} {fit_s:8.3f} s")
    print(f"{f'fold-in of one user, {_HISTORY} items':44} {1e6 * fold_in_s:8.0f} us")
    print(f"{f'best 200 of {len(data.items):,} items, one user':44} {1e6 * search_s:8.0f} us")


def _median_s(work: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


if __name__ == "__main__":
    sys.exit(main())
