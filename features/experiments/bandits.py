"""Bandits: running experiments whose weights follow their results. Autopilot calls this regularly."""

import math

from experiments.bandit import Allocation, top_two_weights
from experiments.statistics.ratio import one_user_decides, ratio, ratio_variance
from experiments.statistics.sums import Sums
from experiments.user_metrics import METRICS, Metric
from experiments.user_totals import VariantSums
from features.experiments.changes import change_experiment
from features.experiments.counts import read_sums
from features.experiments.experiment import Experiment, ExperimentError
from features.experiments.steps import reweigh, running
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.serving_state import AUTOPILOT, read_state

SMALLEST_CHANGE = 0.01
"""The weights are written only where one of them moves by at least this much."""


async def reweigh_bandits(client: StoreClient, keys: Keys, now_ms: int) -> dict[str, Allocation]:
    """Give the variants of every running bandit new weights, for users who arrive from now on.

    Several callers at once do no harm: the weights come from sums that all of them read, so each writes nearly the
    same ones, and the last write stands.

    Returns:
        experiment -> the weights that were written, for those that changed.

    Raises:
        StoreError: the store does not answer.
    """
    changed = {}
    for experiment in running(await read_state(client, keys)):
        if experiment.bandit is None:
            continue
        sums = await read_sums(client, keys, experiment.id, experiment.names)
        metric = METRICS[experiment.primary_metric]
        live = live_names(experiment)
        ratios = metric.denominator is not None
        if len(live) < 2 or (ratios and any(one_user_decides(metric.sums(sums[name])) for name in live)):
            continue
        found = top_two_weights(
            [arm(metric, sums[name]) for name in live],
            floor=experiment.bandit.floor,
            beta=experiment.bandit.leader_share,
            minimum_users=experiment.bandit.minimum_users,
            higher_is_better=metric.higher_is_better,
        )
        given = dict(zip(live, found.weights, strict=True))
        weights = [given.get(name, 0.0) for name in experiment.names]
        moves = [abs(new - old) for new, old in zip(weights, experiment.weights, strict=True)]
        if found.best is None or max(moves) < SMALLEST_CHANGE:
            continue  # it is too early, or the weights are settled
        users = sum(sums[name]["n"] + sums[name]["mixed"] for name in experiment.names)
        best = ", ".join(f"{name} {chance:.0%}" for name, chance in zip(live, found.best, strict=True))
        try:
            await change_experiment(
                client,
                keys,
                experiment.id,
                lambda one, _, weights=weights, users=users: reweigh(one, weights, users, now_ms),  # type: ignore[misc]
                "reweighed",
                f"chance to be the best: {best}",
                now_ms,
                AUTOPILOT,
            )
        except ExperimentError:
            continue  # the experiment was stopped since it was read
        changed[experiment.id] = found
    return changed


def live_names(experiment: Experiment) -> list[str]:
    """The variants that have or had a weight; one that never had any takes no part."""
    periods = [period.weights for period in experiment.periods] or [experiment.weights]
    return [name for place, name in enumerate(experiment.names) if any(weights[place] > 0 for weights in periods)]


def arm(metric: Metric, variant: VariantSums) -> Sums:
    """The sums of one variant as a mean over users; a ratio is linearised (delta method)."""
    pairs = metric.sums(variant)
    if metric.denominator is None or pairs.n == 0:
        return pairs.main
    value = ratio(pairs)
    if value is None or pairs.n < 2:
        return Sums(pairs.n, 0.0, 0.0)
    spread = ratio_variance(pairs) * (pairs.n - 1)
    return Sums(pairs.n, value * pairs.n, math.fsum((spread, value * value * pairs.n)))
