"""Which further sources give candidates on a data set: those with which the final lists are better, by measurement.

More candidates alone often gain nothing, and each costs time at every request. So a ranker is learned with each set of
sources and judged on the last window before the latest, on a sample of the requests, and a source stays only where the
interval of the gain lies above zero.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from models.evaluation.gate import per_user
from models.evaluation.metrics import bootstrap_interval, user_metrics
from models.ranking.ranker import RankerParameters
from models.relations.more_sources import NO_MORE, MoreSources
from models.training.first_stage import FirstStage, find_candidates
from models.training.past_requests import Requests
from models.training.ranker_lists import rerank
from models.training.ranker_windows import JUDGED_CONTEXTS, FittedRanker, Recipe, learn, lists_after, requests_after

K = 10
LISTS = 1_500
"""Training lists of each window, and requests that are judged: they bound what the choice costs."""
EACH = 50
"""Candidates of a source that is on."""
Window = tuple[float, float]


def choose_sources(
    stages: Sequence[tuple[Window, FirstStage]], recipe: Recipe, parameters: RankerParameters, seed: int
) -> tuple[MoreSources, str]:
    """The sources to use, and what was measured, in words.

    Args:
        stages: of the windows before the latest, in their order; the last of them judges what the others taught.
    """
    if len(stages) < 2:
        return NO_MORE, ""
    chosen, notes = NO_MORE, []
    (window, stage) = stages[-1]
    requests = requests_after(stage, *window, JUDGED_CONTEXTS, LISTS)
    best = _judged(stages, requests, replace(recipe, more=chosen), parameters, seed)
    if best is None:
        return NO_MORE, ""
    for names in (("repeats",), ("follows", "neighbours")):
        if names == ("repeats",) and not stage.repeats:
            notes.append("repeats: hardly anything comes again")
            continue
        trial = chosen.model_copy(update=dict.fromkeys(names, EACH))
        judged = _judged(stages, requests, replace(recipe, more=trial), parameters, seed)
        gains = np.empty(0) if judged is None else per_user(requests.user, judged - best)
        if not len(gains):
            continue
        interval = bootstrap_interval(gains, seed)
        kept = interval.low > 0
        if kept:
            chosen, best = trial, judged
        notes.append(
            f"{' and '.join(names)} {'kept' if kept else 'left out'}: NDCG@10 {interval.mean:+.4f} "
            f"[{interval.low:+.4f}, {interval.high:+.4f}]"
        )
    return chosen, "; ".join(notes)


def _judged(
    stages: Sequence[tuple[Window, FirstStage]],
    requests: Requests,
    recipe: Recipe,
    parameters: RankerParameters,
    seed: int,
) -> np.ndarray | None:
    """(B,) NDCG@10 of each request with these sources; None where there is nothing to learn from."""
    rows = [lists_after(stage, *window, recipe, LISTS) for window, stage in stages[:-1]]
    fitted: FittedRanker | None = learn(rows, parameters, seed, threads=1)
    if fitted is None or not len(requests):
        return None
    stage = stages[-1][1]
    candidates = find_candidates(stage, requests, recipe.candidates, recipe.trending, recipe.more)
    return user_metrics(rerank(stage, fitted.ranker, requests, candidates, K), requests.relevant).ndcg
