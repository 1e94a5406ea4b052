"""The second stage of a retraining, and both models on the latest window of time: what the gate compares.

The champion is judged by its recipe (parameters, weighting, with or without ranker), fitted anew on the events before
the window: its bundle may have been trained on the very events that it would be judged on.
"""

from dataclasses import dataclass, replace

import numpy as np

from jobs.gate import Judged, per_user
from jobs.ranker_training import (
    JUDGED_CONTEXTS,
    LATEST,
    FittedRanker,
    Recipe,
    learn,
    lists_after,
    lists_before_latest,
    requests_after,
    stage_at,
)
from jobs.requests import Requests
from jobs.training_data import TrainingData
from jobs.two_stage import Catalogue, FirstStage, RankerRows, find_candidates, rerank
from models.manifest import Manifest
from models.metrics import bootstrap_interval, coverage, user_metrics
from models.ranker import RankerParameters

K = 10


@dataclass(frozen=True)
class SecondStage:
    """What came out.

    Attributes:
        ranker: learned from all windows, for the bundle; None where it has nothing to learn from or does not help.
        judged: the new model as it will be served; `plain` the same without ranker; `requests` what both answered.
        rows: training lists before the latest window.
        recipe: that of the new model.
    """

    ranker: FittedRanker | None
    judged: Judged
    plain: Judged
    requests: Requests
    rows: list[RankerRows]
    recipe: Recipe

    @property
    def metrics(self) -> dict[str, float]:
        """`latest_ndcg_at_10` of the new model with its interval, and `latest_plain_ndcg_at_10` without ranker."""
        found: dict[str, float] = {"latest_requests": float(len(self.requests))}
        for name, judged in (("latest_ndcg_at_10", self.judged), ("latest_plain_ndcg_at_10", self.plain)):
            values = per_user(judged.user, judged.ndcg)
            if len(values):
                interval = bootstrap_interval(values, 0)
                found |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
                found[name.replace("ndcg_at_10", "coverage")] = judged.coverage
        return found


def train_second_stage(
    data: TrainingData,
    catalogue: Catalogue,
    recipe: Recipe,
    parameters: RankerParameters | None,
    seed: int,
    threads: int = 0,
) -> SecondStage:
    """Learn from the earlier windows, judge on the latest, then learn from all.

    Args:
        data: in store order (`jobs.requests.in_store_order`).
        parameters: of the ranker; None to do without.

    Raises:
        ValueError: no event before the latest window speaks for any item.
    """
    stage = stage_at(data, catalogue, recipe, LATEST, seed, threads)
    requests = requests_after(stage, LATEST, JUDGED_CONTEXTS)
    plain = judge_stage(stage, requests, recipe, None)
    if parameters is None:
        return SecondStage(None, plain, plain, requests, [], recipe)
    rows = lists_before_latest(data, catalogue, recipe, seed, threads)
    early = learn(rows, parameters, seed, threads=1)
    if early is None:
        return SecondStage(None, plain, plain, requests, rows, recipe)
    judged = judge_stage(stage, requests, recipe, early)
    gain = per_user(judged.user, judged.ndcg - plain.ndcg)
    if len(gain) and gain.mean() <= 0:
        return SecondStage(None, plain, plain, requests, rows, recipe)
    final = learn([*rows, lists_after(stage, LATEST, recipe)], parameters, seed, threads=1)
    return SecondStage(final, judged, plain, requests, rows, recipe)


def judge_champion(
    data: TrainingData, catalogue: Catalogue, champion: Manifest, new: SecondStage, seed: int, threads: int = 0
) -> Judged:
    """The champion's recipe on the requests that the new model answered."""
    recipe = replace(new.recipe, parameters=champion.parameters, weighting=champion.weighting)
    if champion.ranker is None and recipe == new.recipe:
        return new.plain
    if champion.ranker is not None:
        recipe = replace(recipe, candidates=champion.ranker.candidates, trending=champion.ranker.trending)
    if recipe == new.recipe and new.ranker is not None and champion.ranker.parameters == new.ranker.parameters:  # type: ignore[union-attr]
        return new.judged
    stage = stage_at(data, catalogue, recipe, LATEST, seed, threads)
    fitted = None
    if champion.ranker is not None:
        rows = new.rows if recipe == new.recipe and new.rows else None
        rows = lists_before_latest(data, catalogue, recipe, seed, threads) if rows is None else rows
        fitted = learn(rows, champion.ranker.parameters, seed, threads=1)
    return judge_stage(stage, new.requests, recipe, fitted)


def judge_stage(stage: FirstStage, requests: Requests, recipe: Recipe, fitted: FittedRanker | None) -> Judged:
    """NDCG@10 of each request."""
    if fitted is None:
        best = find_candidates(stage, requests, K).items
    else:
        candidates = find_candidates(stage, requests, recipe.candidates, recipe.trending)
        best = rerank(stage, fitted.ranker, requests, candidates, K)
    ndcg = user_metrics(best, requests.relevant).ndcg
    known = int(np.count_nonzero(stage.known_items))
    return Judged(requests.user, ndcg, coverage(best, known))
