"""`python -m benchmarks.experiment_targets`: whether the statistics of experiments keep what they promise, simulated.

Each line is a promise, what was measured, and how many experiments were simulated for it. Nothing here needs the stack.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from experiments.policy_value import off_policy_value
from experiments.statistics.cuped import cuped_difference, cuped_ratio_difference
from experiments.statistics.difference import Difference, mean_difference
from experiments.statistics.power import PlannedTest, power_at, sample_size
from experiments.statistics.ratio import ratio_difference
from experiments.statistics.sequential import always_valid_test
from experiments.statistics.sums import PairSums, RatioSums
from experiments.statistics.welch import welch_test

ALPHA = 0.05
LOOKS = 20


@dataclass(frozen=True)
class Measured:
    """A promise of the statistics, and the value that was measured for it."""

    promise: str
    value: float
    low: float
    high: float
    runs: int

    @property
    def kept(self) -> bool:
        """Whether the measured value is within the bounds."""
        return self.low <= self.value <= self.high

    def __str__(self) -> str:
        word = "kept" if self.kept else "BROKEN"
        bounds = f"wanted {self.low:g} to {self.high:g}; {self.runs:,} runs"
        return f"{word:6}  {self.promise:58} {self.value:.4f}  ({bounds})"


def users(generator: np.random.Generator, runs: int, n: int, lift: float = 1.0) -> tuple[np.ndarray, ...]:
    """Clicks, lists and earlier events, each (runs, n): users differ in activity and taste, as real ones do."""
    activity = generator.gamma(2.0, 1.0, (runs, n))
    lists = generator.poisson(3.0 * activity) + 1
    rate = np.minimum(generator.beta(2.0, 6.0, (runs, n)) * lift, 1.0)
    return generator.binomial(lists, rate), lists, generator.poisson(5.0 * activity)


def pairs(x: np.ndarray, y: np.ndarray) -> list[PairSums]:
    """The sums of each run's two values; `x` and `y` are (runs, n)."""
    x, y = x.astype(float), y.astype(float)
    columns = (x.sum(1), (x * x).sum(1), y.sum(1), (y * y).sum(1), (x * y).sum(1))
    return [PairSums(x.shape[1], *(float(value) for value in row)) for row in zip(*columns, strict=True)]


def ratios(clicks: np.ndarray, lists: np.ndarray, before: np.ndarray) -> list[RatioSums]:
    """The sums of each run's clicks over lists, with the earlier events as covariate."""
    parts = pairs(clicks, lists), pairs(clicks, before), pairs(lists, before)
    return [RatioSums(*each) for each in zip(*parts, strict=True)]


def blocks(runs: int, size: int = 200) -> Iterator[int]:
    """The sizes of portions of `runs` that fit into memory."""
    for start in range(0, runs, size):
        yield min(size, runs - start)


Kind = Callable[[RatioSums, RatioSums], Difference]


def kinds() -> dict[str, Kind]:
    """name -> the difference, from clicks, lists and earlier events."""
    return {
        "absolute": lambda a, b: mean_difference(a.ratio.main, b.ratio.main, relative=False),
        "relative": lambda a, b: mean_difference(a.ratio.main, b.ratio.main, relative=True),
        "ratio": lambda a, b: ratio_difference(a.ratio, b.ratio, relative=False),
        "ratio, relative": lambda a, b: ratio_difference(a.ratio, b.ratio, relative=True),
        "CUPED": lambda a, b: cuped_difference(a.numerator, b.numerator, relative=False).difference,
        "CUPED, relative": lambda a, b: cuped_difference(a.numerator, b.numerator, relative=True).difference,
        "CUPED of a ratio": lambda a, b: cuped_ratio_difference(a, b, relative=False).difference,
        "CUPED of a ratio, relative": lambda a, b: cuped_ratio_difference(a, b, relative=True).difference,
    }


def false_positives(runs: int, seed: int) -> list[Measured]:
    """A/A: how often there is a difference that is none."""
    generator = np.random.default_rng(seed)
    found = dict.fromkeys(kinds(), 0)
    for size in blocks(runs):
        a, b = (ratios(*users(generator, size, 500)) for _ in range(2))
        for name, kind in kinds().items():
            p_values = [welch_test(kind(one, other)).p_value for one, other in zip(a, b, strict=True)]
            found[name] += sum(p is not None and p < ALPHA for p in p_values)
    return [Measured(f"A/A false positives at .05, {name}", n / runs, 0.04, 0.06, runs) for name, n in found.items()]


def sequential(runs: int, seed: int) -> Measured:
    """A/A looked at twenty times: how often any look finds a difference."""
    generator = np.random.default_rng(seed)
    alarms = 0
    for size in blocks(runs):
        arms = [users(generator, size, 2_000) for _ in range(2)]
        alarmed = np.zeros(size, bool)
        for n in np.linspace(100, 2_000, LOOKS).astype(int):
            a, b = (pairs(clicks[:, :n], lists[:, :n]) for clicks, lists, _ in arms)
            tests = [always_valid_test(ratio_difference(x, y, relative=False)) for x, y in zip(a, b, strict=True)]
            alarmed |= np.array([test.p_value is not None and test.p_value < ALPHA for test in tests])
        alarms += int(alarmed.sum())
    return Measured(f"A/A looked at {LOOKS} times, always valid", alarms / runs, 0.0, 0.05, runs)


def coverage(runs: int, seed: int) -> list[Measured]:
    """How often the 95 % interval holds the true difference, which a huge sample tells."""
    generator = np.random.default_rng(seed)
    lift = 1.2
    clicks = [users(generator, 1, 4_000_000, factor) for factor in (1.0, lift)]
    means = [float(x.mean()) for x, _, _ in clicks]
    rates = [float(x.sum() / y.sum()) for x, y, _ in clicks]
    truth = {
        "absolute": means[1] - means[0],
        "relative": means[1] / means[0] - 1,
        "ratio": rates[1] - rates[0],
        "ratio, relative": rates[1] / rates[0] - 1,
        "CUPED": means[1] - means[0],
        "CUPED, relative": means[1] / means[0] - 1,
        "CUPED of a ratio": rates[1] - rates[0],
        "CUPED of a ratio, relative": rates[1] / rates[0] - 1,
    }
    inside = dict.fromkeys(kinds(), 0)
    for size in blocks(runs):
        a, b = (ratios(*users(generator, size, 500, factor)) for factor in (1.0, lift))
        for name, kind in kinds().items():
            for one, other in zip(a, b, strict=True):
                interval = welch_test(kind(one, other)).interval
                inside[name] += interval is not None and interval[0] <= truth[name] <= interval[1]
    return [Measured(f"coverage of 95 % intervals, {name}", n / runs, 0.94, 0.96, runs) for name, n in inside.items()]


def variance_of_cuped(runs: int, seed: int) -> Measured:
    """Variance left by CUPED, over 1 - correlation^2."""
    generator = np.random.default_rng(seed)
    plain, adjusted, promised = [], [], []
    for size in blocks(runs):
        arms = [users(generator, size, 1_000) for _ in range(2)]
        a, b = (pairs(clicks, before) for clicks, _, before in arms)
        for one, other in zip(a, b, strict=True):
            found = cuped_difference(one, other, relative=False)
            plain.append((other.main.mean or 0.0) - (one.main.mean or 0.0))
            adjusted.append(found.difference.value or 0.0)
            promised.append(1.0 - (found.correlation or 0.0) ** 2)
    left = float(np.var(adjusted) / np.var(plain))
    return Measured("CUPED: variance left, over 1 - correlation^2", left / float(np.mean(promised)), 0.95, 1.05, runs)


def power_of_plan(runs: int, seed: int) -> Measured:
    """How often a planned experiment finds the planned effect, less the planned power."""
    generator = np.random.default_rng(seed)
    effect, spread, planned = 0.25, 1.0, 0.8
    n = sample_size(effect, spread**2, power=planned, test=PlannedTest(ALPHA)).control
    found = 0
    for size in blocks(runs):
        a, b = (generator.gamma(4.0, spread / 2.0, (size, n)) + shift for shift in (0.0, effect))
        for one, other in zip(pairs(a, a), pairs(b, b), strict=True):
            p = welch_test(mean_difference(one.main, other.main, relative=False)).p_value
            found += p is not None and p < ALPHA
    exact = power_at(effect, spread**2, n, n)
    return Measured(f"power at the planned size ({n} users), less {exact:.3f}", found / runs - exact, -0.03, 0.03, runs)


def off_policy(runs: int, seed: int) -> list[Measured]:
    """How often the 95 % interval holds the true value of a policy that did not serve."""
    generator = np.random.default_rng(seed)
    n_users, per_user, actions = 400, 3, 5
    logging = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    target = np.array([0.1, 0.2, 0.3, 0.2, 0.2])
    appeal = np.array([0.2, 0.3, 0.4, 0.1, 0.25])
    truth = float(target @ appeal)
    inside = dict.fromkeys(("ips", "snips", "doubly_robust"), 0)
    for _ in range(runs):
        shown = generator.choice(actions, (n_users, per_user), p=logging)
        # Users differ; the truth is over the same spread.
        taste = generator.uniform(0.5, 1.5, (n_users, 1))
        reward = (generator.random(shown.shape) < np.minimum(appeal[shown] * taste, 1.0)).astype(float).ravel()
        flat = shown.ravel()
        rewards = [reward[flat == action] for action in range(actions)]
        model = np.array([mine.mean() if len(mine) else 0.0 for mine in rewards])
        value = off_policy_value(
            reward,
            logging[flat],
            target[flat],
            model_reward=model[flat],
            target_value=np.full(len(flat), float(target @ model)),
            users=np.repeat(np.arange(n_users), per_user),
        )
        for name in inside:
            interval = getattr(value, name).interval
            inside[name] += interval is not None and interval[0] <= truth <= interval[1]
    return [
        Measured(f"off-policy truth inside the 95 % interval, {name}", n / runs, 0.93, 1.0, runs)
        for name, n in inside.items()
    ]


def measure(runs: int, seed: int) -> Iterator[Measured]:
    """Measure every promise."""
    yield from false_positives(runs, seed)
    yield sequential(runs, seed + 1)
    yield from coverage(max(runs, 2 * runs), seed + 2)
    yield variance_of_cuped(max(runs, 2 * runs), seed + 3)
    yield power_of_plan(runs, seed + 4)
    yield from off_policy(max(50, runs // 4), seed + 5)


def main() -> int:
    """Print each promise; exit code 1 where one is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiment_targets", description=__doc__)
    parser.add_argument("--runs", type=int, default=2_000, help="simulated experiments for each promise")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    broken = 0
    for measured in measure(given.runs, given.seed):
        print(measured, flush=True)
        broken += not measured.kept
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
