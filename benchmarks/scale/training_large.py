"""`python -m benchmarks.scale.training_large`: one ALS iteration on 20 million synthetic events, and the library's own.

Needs no stack. Users and items have the sizes of MovieLens 20M; popularity follows Zipf's law. The events go the way of
a training: to one weight for each pair, to a matrix, to the fit. The floor is `implicit` called directly on the same
matrix, in the same run, with as many threads. Both are compared by processor time, which other work on the machine
disturbs less than the clock. Exit code 1 where the ratio or the peak of memory is beyond its limit.
"""

import argparse
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from configs.event_types import load_event_types
from data.matrix import pairs_to_csr
from models.factors.als import AlsParameters, fit_als
from models.factors.interest import aggregate_interest

N_EVENTS, N_USERS, N_ITEMS = 20_000_000, 138_000, 27_000
LIMIT_RATIO = 1.3
LIMIT_GB = 8.0


@dataclass(frozen=True)
class Taken:
    """Seconds by the clock and of all processors together."""

    wall_s: float
    processor_s: float


def synthetic_weights(n_events: int, n_users: int, n_items: int, seed: int) -> sp.csr_matrix:
    """(n_users, n_items) from that many ratings, by the functions of a training."""
    generator = np.random.default_rng(seed)
    popularity = 1.0 / np.arange(20, n_items + 20)
    item = np.searchsorted(np.cumsum(popularity) / popularity.sum(), generator.random(n_events))
    user = (n_users * generator.random(n_events) ** 2).astype(np.int64)  # some are far more active than others
    types = load_event_types("movies")
    codes = np.full(n_events, types["rating"].code, np.uint8)
    values = generator.integers(1, 6, n_events).astype(np.float32)
    times = np.arange(n_events, dtype=np.int64)
    found = aggregate_interest(user, np.minimum(item, n_items - 1), times, codes, values, types, "consumption")
    return pairs_to_csr(found.users, found.items, found.weights, n_users, n_items)


def timed(work: Callable[[], object]) -> Taken:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Taken(time.perf_counter() - wall, time.process_time() - processor)


def library_fit(weights: sp.csr_matrix, parameters: AlsParameters, threads: int) -> None:
    """The floor: nothing but the library."""
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=parameters.factors,
            regularization=parameters.regularization,
            alpha=parameters.alpha,
            iterations=parameters.iterations,
            num_threads=threads,
            random_state=0,
        )
        model.fit(weights, show_progress=False)


def peak_gb() -> float:
    """The largest resident size that this process has had."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1_000_000_000 if sys.platform == "darwin" else 1_000_000)


def main() -> int:
    """Print one line for each part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, default=N_EVENTS)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--factors", type=int, default=64)
    given = parser.parse_args()
    share = given.events / N_EVENTS
    shape = max(2, round(N_USERS * share)), max(2, round(N_ITEMS * min(1.0, share**0.5)))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    started = time.perf_counter()
    weights = synthetic_weights(given.events, *shape, seed=0)
    print(
        f"{given.events:,} events of {shape[0]:,} users with {shape[1]:,} items: {weights.nnz:,} pairs, "
        f"{time.perf_counter() - started:.1f} s, peak {peak_gb():.2f} GB"
    )
    parameters = AlsParameters(factors=given.factors, regularization=32.0, alpha=4.0, iterations=1)
    arms = {
        "the library alone": lambda: library_fit(weights, parameters, given.threads),
        "fit_als": lambda: fit_als(weights, parameters, 0, given.threads),
    }
    taken = {name: timed(work) for name, work in arms.items()}
    for name, one in taken.items():
        print(f"{name:20} one iteration: {one.processor_s:8.2f} s of processor time, {one.wall_s:8.2f} s by the clock")
    floor, ours = taken.values()
    ratio, peak = ours.processor_s / floor.processor_s, peak_gb()
    print(f"ratio {ratio:.2f} (limit {LIMIT_RATIO}), peak memory {peak:.2f} GB (limit {LIMIT_GB:.0f})")
    return 0 if ratio <= LIMIT_RATIO and peak <= LIMIT_GB else 1


if __name__ == "__main__":
    sys.exit(main())
