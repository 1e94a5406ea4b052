"""`python -m benchmarks.experiments`: what the statistics of experiments cost, in this process, without the stack.

Assignment happens in every request, so it is timed alone; a results page compares every metric of every variant, and
takes the same time for a thousand events as for a million, since it reads sums.
"""

import os
import platform
import sys
import time
from collections.abc import Callable

import numpy as np

from experiments.assignment import Namespace, TrafficSplit, assign
from experiments.bandit import top_two_weights
from experiments.policy_value import off_policy_value
from experiments.statistics.cuped import cuped_difference
from experiments.statistics.difference import mean_difference
from experiments.statistics.multiple_comparisons import holm
from experiments.statistics.power import sample_size
from experiments.statistics.ratio import ratio_difference
from experiments.statistics.sequential import always_valid_test
from experiments.statistics.sums import PairSums
from experiments.statistics.welch import welch_test

# A request takes about a millisecond; assignment may add a hundredth of it.
ASSIGNMENT_LIMIT_US = 10.0
_METRICS, _VARIANTS = 7, 3
_SECONDS = 0.5


def main() -> int:
    """Print one line for each part; exit code 1 where an assignment takes longer than the limit."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    traffic = TrafficSplit("exp-1", ("a", "b", "c"), (0.5, 0.3, 0.2), 0.8, Namespace("home", 0.0, 0.9))
    users = [f"user-{n}" for n in range(1000)]
    assignment = microseconds(lambda: [assign(traffic, user) for user in users]) / len(users)
    print(f"assignment of one user: {assignment:.2f} us (limit {ASSIGNMENT_LIMIT_US:.0f})")
    for rows in (1_000, 1_000_000):
        arms = simulated(rows // _VARIANTS)
        print(f"results page of {_METRICS} metrics x {_VARIANTS} variants, {rows} rows: {page(arms) / 1000:.2f} ms")
    arms = simulated(10_000)
    print(f"bandit weights: {microseconds(lambda: top_two_weights([arm.main for arm in arms])) / 1000:.2f} ms")
    print(f"sample size: {microseconds(lambda: sample_size(0.01, 0.2)) / 1000:.2f} ms")
    rng = np.random.default_rng(2)
    log = rng.random(1_000_000), rng.uniform(0.1, 1.0, 1_000_000), rng.random(1_000_000)
    print(f"off-policy estimate of a million rows: {microseconds(lambda: off_policy_value(*log)) / 1e6:.2f} s")
    return 0 if assignment <= ASSIGNMENT_LIMIT_US else 1


def simulated(users: int) -> list[PairSums]:
    """Sums of each variant."""
    rng = np.random.default_rng(1)
    before = rng.poisson(3.0, (_VARIANTS, users)).astype(float)
    return [PairSums.of(rng.poisson(1.0 + row).astype(float), row) for row in before]


def page(arms: list[PairSums]) -> float:
    """Microseconds for all comparisons of a results page."""

    def compare() -> None:
        control = arms[0]
        for _ in range(_METRICS):
            found = []
            for arm in arms[1:]:
                for relative in (False, True):
                    plain = mean_difference(control.main, arm.main, relative)
                    welch_test(plain)
                    found.append(always_valid_test(plain).p_value)
                    welch_test(ratio_difference(control, arm, relative))
                    welch_test(cuped_difference(control, arm, relative).difference)
            holm(found)

    return microseconds(compare)


def microseconds(work: Callable[[], object]) -> float:
    """Median time of one call, over half a second of calls and at least five."""
    taken: list[float] = []
    until = time.perf_counter() + _SECONDS
    while time.perf_counter() < until or len(taken) < 5:
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1e6)
    return float(np.median(taken))


if __name__ == "__main__":
    sys.exit(main())
