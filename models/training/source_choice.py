"""What a ranker is given on a data set beside the features that it always has: further sources of candidates, and the
attributes of items and users. Each stays where the final lists are better with it, by measurement.

More candidates or columns alone often gain nothing, and each costs time at every request. So a ranker is learned with
each of them and judged on the windows before the latest, each by what the windows before it taught, on a sample of the
requests, and what was tried stays only where the interval of the gain lies above zero.
"""

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial

import numpy as np

from models.evaluation.metrics import Interval, clustered_interval, user_metrics
from models.ranking.attributes import NO_ATTRIBUTES, UsedAttributes
from models.ranking.ranker import Ranker, RankerParameters
from models.relations.more_sources import NO_MORE, MoreSources, SourceName
from models.training.first_stage import (
    CandidateTable,
    FirstStage,
    find_candidates,
    first_candidates,
    further_candidates,
)
from models.training.ranker_lists import RankerRows, rerank
from models.training.ranker_windows import CONTEXTS, MOST_LISTS, Recipe, learn, lists_of, requests_after

K = 10
LISTS = 1_500
"""Training lists of each window, and requests of each that are judged: they bound what the choice costs."""
_LEARNED = 2  # windows that a ranker has learned from, where there are so many, before it is judged
EACH = 50
"""Candidates of a source that is on."""
_PLAIN = 0.4  # of the choice is done when that without further sources is judged
_GROUPS: tuple[tuple[tuple[SourceName, ...], ...], ...] = ((("repeats",),), (("follows", "neighbours"), ("near",)))
"""What is judged together, in turn; the members of a group at the same time."""
Window = tuple[float, float]
Judged = Mapping[int, np.ndarray]
"""By number of a window (B,) NDCG@10 of its requests, the earliest window first."""


class _Asked:
    """Requests of a window, and what is the same for all sources.

    Attributes:
        whole: whether these are all requests that a training takes from the window.
    """

    def __init__(
        self, window: Window, stage: FirstStage, contexts: tuple[int, ...] | None, most: int, recipe: Recipe
    ) -> None:
        requests = requests_after(stage, *window, contexts, most, recipe.horizon_s, new=True)
        self.whole = len(requests) <= LISTS
        if not self.whole:
            chosen = np.random.default_rng(len(requests)).choice(len(requests), LISTS, replace=False)
            requests = requests.some(np.sort(chosen))
        self.requests = requests
        self.stage, self._cutoff = stage, window[0]
        self._recipe = recipe
        self._first = first_candidates(stage, requests, recipe.candidates, recipe.trending)

    def lists(self, more: MoreSources) -> RankerRows:
        """Training lists."""
        return lists_of(self.stage, self.requests, self._cutoff, self._candidates(more))

    def ndcg(self, ranker: Ranker, more: MoreSources) -> np.ndarray:
        """(B,) NDCG@10 of each request."""
        best = rerank(self.stage, ranker, self.requests, self._candidates(more), K)
        return user_metrics(best, self.requests.relevant).ndcg

    def plain_ndcg(self) -> np.ndarray:
        """(B,) NDCG@10 of each request by the factors alone."""
        enough = self._recipe.candidates >= K
        best = self._first.table.items[:, :K] if enough else find_candidates(self.stage, self.requests, K).items
        return user_metrics(best, self.requests.relevant).ndcg

    def _candidates(self, more: MoreSources) -> CandidateTable:
        return further_candidates(self.stage, self.requests, self._first, more)


class EarlyRequests:
    """Requests of the windows before the latest: those that teach, and those that a ranker is judged on. They are the
    same for all that is tried, and so is much of what they are answered with.

    Args:
        stages: of these windows, in their order.
    """

    def __init__(self, stages: Sequence[tuple[Window, FirstStage]], recipe: Recipe) -> None:
        first = min(_LEARNED, len(stages) - 1) if len(stages) > 1 else len(stages)
        judged = {number: _Asked(*stages[number], None, LISTS, recipe) for number in range(first, len(stages))}
        self.judged = {number: one for number, one in judged.items() if len(one.requests)}
        self.taught = [_Asked(*one, CONTEXTS, MOST_LISTS, recipe) for one in stages[:-1]] if self.judged else []
        self._lists: dict[tuple[MoreSources, int], RankerRows] = {}
        self._found: dict[Hashable, np.ndarray | None] = {}

    def lists(self, more: MoreSources, number: int) -> RankerRows:
        """Training lists of a window."""
        if (more, number) not in self._lists:
            self._lists[more, number] = self.taught[number].lists(more)
        return self._lists[more, number]

    def ndcg(
        self,
        number: int,
        more: MoreSources,
        attributes: UsedAttributes,
        parameters: RankerParameters,
        seed: int,
    ) -> np.ndarray | None:
        """(B,) NDCG@10 of each request of a window; None where the windows before it hold nothing to learn from."""
        key = number, more, attributes, parameters, seed
        if key not in self._found:
            rows = [self.lists(more, before) for before in range(number)]
            fitted = learn(rows, _quick(parameters), seed, threads=1, attributes=attributes)
            self._found[key] = None if fitted is None else self.judged[number].ndcg(fitted.ranker, more)
        return self._found[key]

    def tried(
        self,
        best: Judged,
        more: MoreSources,
        attributes: UsedAttributes,
        parameters: RankerParameters,
        seed: int,
    ) -> Judged:
        """By window the NDCG@10 of each request. Where nothing is gained over `best` in half of the windows, the
        others are left out: hardly ever would they lift the whole interval above 0, and each takes a while."""
        found: dict[int, np.ndarray] = {}
        for number in best:
            if (ndcg := self.ndcg(number, more, attributes, parameters, seed)) is None:
                return {}
            found[number] = ndcg
            gained = np.nansum(np.concatenate([one - best[done] for done, one in found.items()]))
            if gained <= 0 and 2 * len(found) >= len(best):
                break
        return found

    def gain(self, judged: Judged, over: Judged, seed: int) -> Interval | None:
        """What a list gains over another one in the mean; None where none can be judged. Each counts alike, and what
        the lists of one user have in common widens the interval."""
        users = [self.judged[number].requests.user for number in judged]
        gained = [ndcg - over[number] for number, ndcg in judged.items()]
        if not gained or np.isnan(np.concatenate(gained)).all():
            return None
        return clustered_interval(np.concatenate(users), np.concatenate(gained), seed)

    def gain_of_ranker(
        self, more: MoreSources, attributes: UsedAttributes, parameters: RankerParameters, seed: int
    ) -> float | None:
        """What a list gains in the mean by a ranker, over the order of the factors alone; None where there is nothing
        to learn from, or nobody to judge."""
        gained = []
        for number, one in self.judged.items():
            if (found := self.ndcg(number, more, attributes, parameters, seed)) is None:
                return None
            gained.append(found - one.plain_ndcg())
        return float(np.nanmean(np.concatenate(gained))) if gained else None

    def forget_all_but(self, more: MoreSources) -> None:
        """Let go of the training lists with other sources."""
        self._lists = {key: rows for key, rows in self._lists.items() if key[0] == more}

    def whole_lists(self, more: MoreSources) -> dict[int, RankerRows]:
        """By number of a window its training lists with these sources, where those that were made are all of it."""
        return {
            number: rows for (some, number), rows in self._lists.items() if some == more and self.taught[number].whole
        }


def choose_sources(
    early: EarlyRequests,
    recipe: Recipe,
    parameters: RankerParameters,
    seed: int,
    threads: int = 1,
    tell: Callable[[float, str], None] = lambda share, text: None,
) -> tuple[MoreSources, str]:
    """The sources to use, and what was measured, in words. It does not depend on `threads`.

    Args:
        threads: rankers that are learned at once; 0 for all cores.
        tell: called with the share that is done, 0 to 1, and what was found.
    """
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        return _choose_sources(early, parameters, seed, pool, tell)


def _choose_sources(
    early: EarlyRequests,
    parameters: RankerParameters,
    seed: int,
    pool: Executor,
    tell: Callable[[float, str], None],
) -> tuple[MoreSources, str]:
    chosen, notes = NO_MORE, []
    for _ in pool.map(partial(early.lists, chosen), range(len(early.taught))):
        pass  # each window's lists once, before several rankers ask for them
    how = NO_ATTRIBUTES, parameters, seed
    best = _defined({number: pool.submit(early.ndcg, number, chosen, *how) for number in early.judged})
    if not best:
        return NO_MORE, ""
    tell(_PLAIN, "rankers without further sources judged")
    stage = [*early.judged.values()][-1].stage
    for group in _GROUPS:
        refused = {names: _refused(names, stage) for names in group}
        offers = {names: _with(chosen, names) for names in group if not refused[names]}
        begun = {names: pool.submit(early.tried, best, more, *how) for names, more in offers.items()}
        for names in group:
            if refused[names]:
                notes.append(refused[names])
                continue
            more, judged = _with(chosen, names), begun[names].result()
            if more != offers[names]:  # another one of the group has been kept
                judged = early.tried(best, more, *how)
            gain = early.gain(judged, best, seed)
            if gain is None:
                continue
            kept = gain.low > 0
            seen = "" if len(judged) == len(best) else f" in {len(judged)} of {len(best)} windows"
            notes.append(f"{' and '.join(names)} {'kept' if kept else 'left out'}: {in_words(gain)}{seen}")
            if kept:
                chosen, best = more, judged
            tell(_PLAIN + (1 - _PLAIN) * len(notes) / sum(map(len, _GROUPS)), notes[-1])
        early.forget_all_but(chosen)
    return chosen, "; ".join(notes)


def keep_attributes(
    early: EarlyRequests, recipe: Recipe, parameters: RankerParameters, seed: int, attributes: UsedAttributes
) -> tuple[UsedAttributes, str]:
    """The attributes if lists gain by them, else none, and what was measured, in words.

    Args:
        recipe: with the sources that were chosen.
    """
    if not attributes:
        return NO_ATTRIBUTES, ""
    how = parameters, seed
    without = {number: early.ndcg(number, recipe.more, NO_ATTRIBUTES, *how) for number in early.judged}
    over = {number: ndcg for number, ndcg in without.items() if ndcg is not None}
    judged = early.tried(over, recipe.more, attributes, *how)
    gain = early.gain(judged, over, seed)
    if gain is None:
        return NO_ATTRIBUTES, "none is used: nobody can be judged in the windows before the latest"
    note = f"{in_words(gain)} in windows before the latest with {_names(attributes)}"
    return (attributes, note) if gain.low > 0 else (NO_ATTRIBUTES, f"none is used: {note}")


def _quick(parameters: RankerParameters) -> RankerParameters:
    """A third of the trees with three times the learning rate: that says the same of what is tried, and trees take most
    of the time. On MovieLens the NDCG@10 of either differs by .002 between seeds, and so do the gains."""
    trees, rate = -(-parameters.trees // 3), min(1.0, 3 * parameters.learning_rate)
    return parameters.model_copy(update={"trees": trees, "learning_rate": rate})


def _with(more: MoreSources, names: tuple[SourceName, ...]) -> MoreSources:
    return more.model_copy(update=dict.fromkeys(names, EACH))


def _defined(found: Mapping[int, Future[np.ndarray | None]]) -> Judged:
    """What was found of all windows; nothing where one holds nothing to learn from."""
    results = {number: one.result() for number, one in found.items()}
    defined = {number: ndcg for number, ndcg in results.items() if ndcg is not None}
    return defined if len(defined) == len(results) else {}


def _refused(names: tuple[SourceName, ...], stage: FirstStage) -> str:
    """Why these sources need no judgement; empty where they do."""
    if names == ("repeats",) and not stage.repeats:
        return "repeats: hardly anything comes again"
    if names == ("near",) and not stage.data.time_trusted:
        return "near: the times say nothing of what was taken up together"
    return ""


def in_words(gain: Interval) -> str:
    """A gain in NDCG@10 with its interval."""
    return f"NDCG@10 {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"


def _names(attributes: UsedAttributes) -> str:
    parts = [
        f"{', '.join(one.name for one in some)} of {what}"
        for some, what in ((attributes.items, "items"), (attributes.users, "users"))
        if some
    ]
    return " and ".join(parts)
