"""The second stage of a retraining, and both models on the latest window of time: what the gate compares.

Lists that were shown (`models.training.shown_list_rows`) are learned from where there are enough of them before that
window, and only where the ranker that learned from them too is no worse in it: so nothing is served that was not
judged.

The champion is judged by its recipe (parameters, weighting, with or without ranker), fitted anew on the events before
the window: its bundle may have been trained on the very events that it would be judged on.
"""

from dataclasses import dataclass, replace

import numpy as np

from models.bundle.manifest import Manifest
from models.evaluation.gate import JudgedRequests, per_user
from models.evaluation.metrics import bootstrap_interval, coverage, user_metrics
from models.ranking.ranker import RankerParameters
from models.training.first_stage import FirstStage, ItemFacts, find_candidates
from models.training.past_requests import Requests
from models.training.ranker_lists import RankerRows, rerank
from models.training.ranker_windows import (
    CUTOFFS,
    JUDGED_CONTEXTS,
    LATEST,
    FittedRanker,
    Recipe,
    early_stages,
    learn,
    lists_after,
    moment_of,
    requests_after,
    stage_at,
)
from models.training.shown_list_rows import Logged, logged_between, logged_rows
from models.training.training_data import TrainingData

K = 10


@dataclass(frozen=True)
class SecondStage:
    """The second stage of a retraining, and how it did on the latest window.

    Attributes:
        ranker: learned from all windows, for the bundle; None where it has nothing to learn from or does not help.
        judged: the new model as it will be served; `plain` the same without ranker; `requests` what both answered.
        rows: training lists before the latest window.
        recipe: that of the new model.
        logged: lists that were shown, whatever became of them.
        logged_note: what became of them, in words.
        unlogged: the new model, had it not learned from them; None where none were tried.
    """

    ranker: FittedRanker | None
    judged: JudgedRequests
    plain: JudgedRequests
    requests: Requests
    rows: "EarlyRows"
    recipe: Recipe
    logged: Logged | None
    logged_note: str
    unlogged: JudgedRequests | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """`latest_ndcg_at_10` of the new model with its interval, `latest_plain_ndcg_at_10` without ranker,
        `latest_unlogged_ndcg_at_10` without lists that were shown, and `logged_lists`, how many of those it uses."""
        found: dict[str, float] = {"latest_requests": float(len(self.requests))}
        if self.logged is not None:
            found["logged_lists"] = float(self.ranker.logged_lists if self.ranker else 0)
        for name, judged in (
            ("latest_ndcg_at_10", self.judged),
            ("latest_plain_ndcg_at_10", self.plain),
            ("latest_unlogged_ndcg_at_10", self.unlogged),
        ):
            values = np.empty(0) if judged is None else per_user(judged.user, judged.ndcg)
            if judged is not None and len(values):
                interval = bootstrap_interval(values, 0)
                found |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
                found[name.replace("ndcg_at_10", "coverage")] = judged.coverage
        return found


@dataclass(frozen=True)
class EarlyRows:
    """Training lists before the latest window: of past requests, and of lists that were shown."""

    requests: list[RankerRows]
    shown: list[RankerRows]


def train_second_stage(
    data: TrainingData,
    catalogue: ItemFacts,
    recipe: Recipe,
    parameters: RankerParameters | None,
    seed: int,
    threads: int = 0,
    logged: Logged | None = None,
) -> SecondStage:
    """Learn from the earlier windows, judge on the latest, then learn from all.

    Args:
        data: in store order (`models.training.past_requests.in_store_order`).
        parameters: the ranker's; None to do without a ranker.
        logged: lists that were shown; None where they do not count.

    Raises:
        ValueError: no event before the latest window speaks for any item.
    """
    stage = stage_at(data, catalogue, recipe, LATEST, seed, threads)
    requests = requests_after(stage, LATEST, JUDGED_CONTEXTS)
    plain = judge_stage(stage, requests, recipe, None)
    nothing = SecondStage(
        None, plain, plain, requests, EarlyRows([], []), recipe, logged, "no ranker to learn from them"
    )
    if parameters is None:
        return nothing
    note = _too_few(data, logged)
    rows = early_rows(data, catalogue, recipe, seed, threads, None if note else logged)
    early = learn(rows.requests, parameters, seed, threads=1)
    if early is None:
        return replace(nothing, rows=rows)
    judged, unlogged, used = judge_stage(stage, requests, recipe, early), None, False
    if not note:
        both = learn(rows.requests, parameters, seed, threads=1, logged=rows.shown)
        assert both is not None
        with_shown, unlogged = judge_stage(stage, requests, recipe, both), judged
        won = _mean_gain(with_shown, unlogged)
        used = won >= 0
        judged = with_shown if used else unlogged
        note = f"NDCG@10 {won:+.4f} in the latest window with {both.logged_lists:,} of them from before it"
        note = note if used else f"none is used: {note}"
    found = replace(nothing, judged=judged, rows=rows, logged_note=note, unlogged=unlogged)
    if _mean_gain(judged, plain) <= 0:
        return replace(found, judged=plain)
    latest = lists_after(stage, LATEST, recipe)
    if logged is None or not used:
        return replace(found, ranker=learn([*rows.requests, latest], parameters, seed, threads=1))
    newest = logged_rows(stage, logged_between(logged, moment_of(data, LATEST), np.inf, np.inf), recipe, logged.clip)
    final = learn([*rows.requests, latest], parameters, seed, threads=1, logged=[*rows.shown, newest])
    assert final is not None
    return replace(found, ranker=replace(final, logged_fingerprint=logged.lists.fingerprint))


def early_rows(
    data: TrainingData, catalogue: ItemFacts, recipe: Recipe, seed: int, threads: int, logged: Logged | None
) -> EarlyRows:
    """Training lists before the latest window. A list that was shown is learned from by the latest stage before it."""
    rows = EarlyRows([], [])
    until = dict(zip(CUTOFFS, (*CUTOFFS[1:], LATEST), strict=True))
    for cutoff, stage in early_stages(data, catalogue, recipe, seed, threads):
        rows.requests.append(lists_after(stage, cutoff, recipe))
        if logged is not None:
            window = moment_of(data, cutoff), moment_of(data, until[cutoff])
            lists = logged_between(logged, *window, settled_ms=moment_of(data, LATEST))
            rows.shown.append(logged_rows(stage, lists, recipe, logged.clip))
    return rows


def judge_champion(
    data: TrainingData, catalogue: ItemFacts, champion: Manifest, new: SecondStage, seed: int, threads: int = 0
) -> JudgedRequests:
    """The champion's recipe on the requests that the new model answered."""
    recipe = replace(new.recipe, parameters=champion.parameters, weighting=champion.weighting)
    if champion.ranker is None and recipe == new.recipe:
        return new.plain
    if champion.ranker is not None:
        recipe = replace(recipe, candidates=champion.ranker.candidates, trending=champion.ranker.trending)
    uses_shown = champion.ranker is not None and champion.ranker.logged_lists > 0
    if (
        recipe == new.recipe
        and new.ranker is not None
        and champion.ranker is not None
        and champion.ranker.parameters == new.ranker.parameters
        and uses_shown == (new.ranker.logged_lists > 0)
    ):
        return new.judged
    stage = stage_at(data, catalogue, recipe, LATEST, seed, threads)
    fitted = None
    if champion.ranker is not None:
        rows = new.rows
        if recipe != new.recipe or not rows.requests:
            rows = early_rows(data, catalogue, recipe, seed, threads, new.logged if uses_shown else None)
        shown = rows.shown if uses_shown else []
        fitted = learn(rows.requests, champion.ranker.parameters, seed, threads=1, logged=shown)
    return judge_stage(stage, new.requests, recipe, fitted)


def judge_stage(stage: FirstStage, requests: Requests, recipe: Recipe, fitted: FittedRanker | None) -> JudgedRequests:
    """NDCG@10 of each request."""
    if fitted is None:
        best = find_candidates(stage, requests, K).items
    else:
        candidates = find_candidates(stage, requests, recipe.candidates, recipe.trending)
        best = rerank(stage, fitted.ranker, requests, candidates, K)
    ndcg = user_metrics(best, requests.relevant).ndcg
    known = int(np.count_nonzero(stage.known_items))
    return JudgedRequests(requests.user, ndcg, coverage(best, known))


def _mean_gain(judged: JudgedRequests, over: JudgedRequests) -> float:
    """What a model wins in NDCG@10 over another on the same requests, user by user; 1 where nobody can be judged."""
    gain = per_user(judged.user, judged.ndcg - over.ndcg)
    return float(gain.mean()) if len(gain) else 1.0


def _too_few(data: TrainingData, logged: Logged | None) -> str:
    """Why the lists that were shown cannot be learned from; empty where they can."""
    if logged is None:
        return "none is used, as the settings say"
    latest = moment_of(data, LATEST)
    before = len(logged_between(logged, moment_of(data, CUTOFFS[0]), latest, settled_ms=latest))
    if before >= logged.fewest:
        return ""
    return (
        "none is used: before the latest window something was taken up of "
        f"{before:,} of them ({len(logged.lists):,} in all), and it takes {logged.fewest:,}"
    )
