"""The second stage of a retraining, and both models on the latest window of time: what the gate compares.

Whether there is a ranker at all, which further sources give it candidates, whether it reads attributes, and whether it
learns from lists that were shown too, is chosen on the windows before that one: a champion that had no such choice
would meet the best of several otherwise. What costs time at every request, sources and attributes, must gain for sure
(`models.training.source_choice`). What costs none is taken where it gains in the mean: the ranker itself, and the lists
that were shown, which only change what the trees say. The champion is judged as the bundle that serves, so the window
begins after all that it has learned from, and after some of what only the new model has learned from (`judged_from`).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from models.evaluation.gate import JudgedRequests, per_user
from models.evaluation.metrics import Interval, bootstrap_interval, coverage, user_metrics
from models.ranking.attributes import NO_ATTRIBUTES, UsedAttributes
from models.ranking.features import FEATURES
from models.ranking.ranker import Ranker, RankerParameters
from models.relations.more_sources import NO_MORE, MoreSources
from models.training.first_stage import FirstStage, find_candidates
from models.training.item_facts import ItemFacts
from models.training.past_requests import Requests
from models.training.ranker_lists import RankerRows, rerank
from models.training.ranker_windows import (
    CUTOFFS,
    JUDGED_CONTEXTS,
    LATEST,
    FittedRanker,
    Recipe,
    early_stages,
    early_windows,
    learn,
    lists_after,
    moment_of,
    requests_after,
    stage_at,
)
from models.training.shown_list_rows import Logged, logged_between, logged_rows
from models.training.source_choice import EarlyRequests, choose_sources, in_words, keep_attributes
from models.training.training_data import TrainingData

K = 10
_SPARE = 1.5  # users that must act in a window for each that can be judged: some have no history, or nothing relevant
Tell = Callable[[float, str], None]
"""Called with the share of the second stage that is done, 0 to 1, and what was done last."""
# The shares that are done after each step: of few events the choice of sources takes most, of many the factors.
_FIRST, _FITTED, _SOURCES, _WINDOWS, _CHOSEN, _LATEST_LISTS, _JUDGED = 0.1, 0.25, 0.65, 0.73, 0.75, 0.8, 1.0


@dataclass(frozen=True)
class SecondStage:
    """The second stage of a retraining, and how it did on the latest window.

    Attributes:
        ranker: learned from all windows, for the bundle; None where it has nothing to learn from or does not help.
        judged: the new model as it will be served; `plain` the same without ranker; `requests` what both answered.
        lists: training lists before the latest window.
        logged: lists that were shown, whatever became of them.
        logged_note: what became of them, in words.
        unlogged: the new model, had it not learned from them; None where it did not.
        attributes_note: what became of the attributes of items and users, in words; empty where there are none.
        unattributed: the new model, had it not read them; None where it does not.
        sources_note: what became of the further sources of candidates, in words.
    """

    ranker: FittedRanker | None
    judged: JudgedRequests
    plain: JudgedRequests
    requests: Requests
    lists: int
    logged: Logged | None
    logged_note: str
    unlogged: JudgedRequests | None = None
    attributes_note: str = ""
    unattributed: JudgedRequests | None = None
    sources_note: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """`latest_ndcg_at_10` of the new model with its interval, `latest_plain_ndcg_at_10` without ranker,
        `latest_unlogged_ndcg_at_10` without lists that were shown, `latest_unattributed_ndcg_at_10` without attributes,
        and `logged_lists`, how many of those lists it uses."""
        found: dict[str, float] = {"latest_requests": float(len(self.requests))}
        if self.logged is not None:
            found["logged_lists"] = float(self.ranker.logged_lists if self.ranker else 0)
        for name, judged in (
            ("latest_ndcg_at_10", self.judged),
            ("latest_plain_ndcg_at_10", self.plain),
            ("latest_unlogged_ndcg_at_10", self.unlogged),
            ("latest_unattributed_ndcg_at_10", self.unattributed),
        ):
            values = np.empty(0) if judged is None else per_user(judged.user, judged.ndcg)
            if judged is not None and len(values):
                interval = bootstrap_interval(values, 0)
                found["latest_users"] = float(interval.n)
                found |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
                found[name.replace("ndcg_at_10", "coverage")] = judged.coverage
        return found


@dataclass(frozen=True)
class EarlyWindow:
    """A window before the judged one, and the training lists that it gives, of past requests and of lists that were
    shown."""

    window: tuple[float, float]
    rows: RankerRows
    shown: RankerRows | None


@dataclass(frozen=True)
class _Choice:
    """What won on the last window before the judged one."""

    ranker: bool
    shown: bool
    note: str


def judged_from(data: TrainingData, champion_created_ms: int | None, fewest_users: int = 0) -> float:
    """The share of the events after which both models are judged: no model may meet what it has learned from.

    What the new model has over the champion is, above all, what happened since. So it learns from the first half of
    that and both are judged on the second, where enough users act in it; otherwise both are judged on all of it, and
    only what is different in how they were made can tell them apart.

    Args:
        champion_created_ms: when the champion's bundle was written: it knows what had arrived by then. None where there
            is no champion.
        fewest_users: so many must act in the second half.
    """
    if champion_created_ms is None:
        return LATEST
    learned = data.turn[data.arrived_ms <= champion_created_ms]
    known = int(learned.max(initial=-1)) + 1
    middle = (known + len(data) + 1) // 2
    acting = len(np.unique(data.user[data.turn >= middle]))
    return max(LATEST, (middle if acting >= _SPARE * fewest_users else known) / len(data))


def train_second_stage(
    data: TrainingData,
    catalogue: ItemFacts,
    recipe: Recipe,
    parameters: RankerParameters | None,
    seed: int,
    threads: int = 0,
    logged: Logged | None = None,
    latest: float = LATEST,
    tell: Tell = lambda share, text: None,
) -> SecondStage:
    """Choose on the last of the earlier windows, judge on the latest, then learn from all.

    Args:
        data: in store order (`models.training.past_requests.in_store_order`).
        parameters: the ranker's; None to do without a ranker.
        logged: lists that were shown; None where they do not count.
        latest: the share of the events after which the models are judged (`judged_from`).
        tell: follows the progress.

    Raises:
        ValueError: no event before the latest window speaks for any item.
    """
    stage = stage_at(data, catalogue, recipe, latest, seed, threads)
    requests = requests_after(stage, latest, 1.0, JUDGED_CONTEXTS, horizon_s=recipe.horizon_s)
    plain = judge_stage(stage, requests, None, recipe.candidates, recipe.trending)
    nothing = SecondStage(None, plain, plain, requests, 0, logged, "no ranker to learn from them")
    if parameters is None:
        return nothing
    tell(_FIRST, f"factors of the first {latest:.0%} of the events, and what they are worth")
    n_windows = len(early_windows(latest, len(data)))
    stages: list[tuple[tuple[float, float], FirstStage]] = []
    for one in early_stages(data, catalogue, recipe, latest, seed, threads):
        stages.append(one)
        tell(_FIRST + (_FITTED - _FIRST) * len(stages) / n_windows, f"factors of the first {one[0][0]:.0%}")
        del one  # else the last stage stays
    asked = EarlyRequests(stages, recipe)
    more, sources_note = choose_sources(
        asked, recipe, parameters, seed, threads, lambda share, text: tell(_FITTED + (_SOURCES - _FITTED) * share, text)
    )
    recipe = replace(recipe, more=more)
    used, attributes_note = keep_attributes(asked, recipe, parameters, seed, catalogue.used)
    helps = asked.gain_of_ranker(more, used, parameters, seed)
    width = len(FEATURES) + len(used.features)
    made = asked.whole_lists(more)
    last_stage = stages[-1][1] if stages and logged is not None else None
    del asked  # it holds all stages, each as much as the data
    windows = _early_windows(data, stages, recipe, logged, tell, made, width)
    choice = _choose(windows, last_stage, data, recipe, parameters, seed, logged, used, helps)
    del last_stage
    tell(_CHOSEN, "chosen whether a ranker helps" if choice.ranker else "no ranker helps")
    lists = sum(len(window.rows.lengths) for window in windows)
    nothing = replace(nothing, lists=lists, logged_note=choice.note, attributes_note=attributes_note)
    nothing = replace(nothing, sources_note=sources_note)
    if not choice.ranker:
        return nothing

    def judge_without(shown: bool, attributes: UsedAttributes) -> JudgedRequests:
        early = _learn(windows, parameters, seed, shown, attributes)
        assert early is not None
        return judge_stage(stage, requests, early.ranker, recipe.candidates, recipe.trending, more)

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:  # rankers that need nothing of one another
        judged = pool.submit(judge_without, choice.shown, used)
        unattributed = pool.submit(judge_without, choice.shown, NO_ATTRIBUTES) if used else None
        unlogged = pool.submit(judge_without, False, used) if choice.shown else None
        rows = [*(window.rows for window in windows), lists_after(stage, latest, 1.0, recipe).only(width)]
        tell(_LATEST_LISTS, "training lists of the latest window")
        shown: list[RankerRows] = []
        if logged is not None and choice.shown:
            newest = logged_between(logged, moment_of(data, latest), np.inf, np.inf)
            shown = [window.shown for window in windows if window.shown is not None]
            shown.append(logged_rows(stage, newest, recipe, logged.clip).only(width))
        final = learn(rows, parameters, seed, threads=1, logged=shown, attributes=used)
        nothing = replace(
            nothing,
            judged=judged.result(),
            unattributed=None if unattributed is None else unattributed.result(),
            unlogged=None if unlogged is None else unlogged.result(),
        )
    tell(_JUDGED, "ranker judged on the latest window")
    fingerprint = logged.lists.fingerprint if logged is not None and choice.shown else None
    ranker = None if final is None else replace(final, logged_fingerprint=fingerprint, more=more)
    return replace(nothing, ranker=ranker)


def _early_windows(
    data: TrainingData,
    stages: list[tuple[tuple[float, float], FirstStage]],
    recipe: Recipe,
    logged: Logged | None,
    tell: Tell,
    made: Mapping[int, RankerRows],
    width: int,
) -> list[EarlyWindow]:
    """The windows before the latest. A list that was shown is learned from by the latest stage before it.

    Args:
        stages: is empty in the end: each is let go of when its lists are made.
        made: by number of a window its training lists, where there are some already.
        width: features that the rows keep.
    """
    found, n_windows = list[EarlyWindow](), len(stages)
    for number in range(1, n_windows + 1):
        window, stage = stages.pop(0)
        shown = None
        if logged is not None:
            after, until = (moment_of(data, share) for share in window)
            lists = logged_between(logged, after, until, settled_ms=until)
            shown = logged_rows(stage, lists, recipe, logged.clip).only(width)
        rows = made[number - 1] if number - 1 in made else lists_after(stage, *window, recipe)
        found.append(EarlyWindow(window, rows.only(width), shown))
        tell(
            _SOURCES + (_WINDOWS - _SOURCES) * number / n_windows,
            f"training lists of the events from {window[0]:.0%} to {window[1]:.0%}",
        )
    return found


def _learn(
    windows: Sequence[EarlyWindow],
    parameters: RankerParameters,
    seed: int,
    shown: bool,
    attributes: UsedAttributes = NO_ATTRIBUTES,
) -> FittedRanker | None:
    lists = [window.shown for window in windows if window.shown is not None] if shown else []
    rows = [window.rows for window in windows]
    return learn(rows, parameters, seed, threads=1, logged=lists, attributes=attributes)


def _choose(
    windows: Sequence[EarlyWindow],
    last_stage: FirstStage | None,
    data: TrainingData,
    recipe: Recipe,
    parameters: RankerParameters,
    seed: int,
    logged: Logged | None,
    attributes: UsedAttributes,
    helps: float | None,
) -> _Choice:
    """Rankers of all windows but the last, on the last; what is known already where no lists that were shown can teach.

    Args:
        helps: what a ranker without those lists gains; None where it has nothing to learn from.
    """
    if helps is None:
        return _Choice(False, False, "no ranker to learn from them")
    too_few = "none is used, as the settings say" if logged is None else _too_few(data, logged, windows)
    if too_few:
        return _Choice(helps > 0, False, too_few)
    ranker = _learn(windows[:-1], parameters, seed, False, attributes)
    if ranker is None or last_stage is None:
        return _Choice(False, False, "no ranker to learn from them")
    last = windows[-1]
    requests = requests_after(last_stage, *last.window, JUDGED_CONTEXTS, horizon_s=recipe.horizon_s)
    plain, ranked = (
        judge_stage(last_stage, requests, one, recipe.candidates, recipe.trending, recipe.more)
        for one in (None, ranker.ranker)
    )
    both = _learn(windows[:-1], parameters, seed, True, attributes)
    assert both is not None
    with_shown = judge_stage(last_stage, requests, both.ranker, recipe.candidates, recipe.trending, recipe.more)
    won = _gain(with_shown, ranked, seed)
    note = f"{in_words(won)} in the window before the latest with {both.logged_lists:,} of them from before it"
    if won.mean < 0:
        return _Choice(_gain(ranked, plain, seed).mean > 0, False, f"none is used: {note}")
    return _Choice(_gain(with_shown, plain, seed).mean > 0, True, note)


def judge_stage(
    stage: FirstStage,
    requests: Requests,
    ranker: Ranker | None,
    candidates: int,
    trending: int,
    more: MoreSources = NO_MORE,
) -> JudgedRequests:
    """NDCG@10 of each request, by the lists that a stage and its ranker would serve."""
    if ranker is None:
        best = find_candidates(stage, requests, K).items
    else:
        best = rerank(stage, ranker, requests, find_candidates(stage, requests, candidates, trending, more), K)
    ndcg = user_metrics(best, requests.relevant).ndcg
    known = int(np.count_nonzero(stage.known_items))
    return JudgedRequests(requests.user, ndcg, coverage(best, known))


def _gain(judged: JudgedRequests, over: JudgedRequests, seed: int) -> Interval:
    """What a model wins in NDCG@10 over another on the same requests, user by user; -1 where nobody can be judged: what
    nobody has judged is not served."""
    gains = per_user(judged.user, judged.ndcg - over.ndcg)
    return bootstrap_interval(gains, seed) if len(gains) else Interval(-1.0, -1.0, -1.0, 0)


def _too_few(data: TrainingData, logged: Logged, windows: Sequence[EarlyWindow]) -> str:
    """Why the lists that were shown cannot be learned from; empty where they can."""
    opens = moment_of(data, windows[-1].window[0]) if windows else -np.inf
    before = len(logged_between(logged, moment_of(data, CUTOFFS[0]), opens, settled_ms=opens))
    if before >= logged.fewest:
        return ""
    return (
        "none is used: before the window that decides it something was taken up of "
        f"{before:,} of them ({len(logged.lists):,} in all), and it takes {logged.fewest:,}"
    )
