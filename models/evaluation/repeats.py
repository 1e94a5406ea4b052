"""P5: the last week, with repeats.

*all*: whatever is known may be recommended, and what a user takes up in the week is relevant, taken up before or not.
*new*: only what the user had not had before may be recommended, and only that is relevant. Each user is asked once, at
the cut. Parameters are chosen on the week before.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy.sparse as sp

from configs.event_types import EventTypes
from data.matrix import pairs_to_mask
from models.evaluation.baselines import (
    K,
    baselines,
    left_out_of,
    personal_frequency,
)
from models.evaluation.contenders import Answer, Clock, Contender, Note, ProtocolData, contenders, fit_stage, sampled
from models.evaluation.metrics import user_metrics
from models.evaluation.served import served_arms, served_ranker
from models.factors.als import AlsParameters
from models.retrieval.whole_catalogue import recommend_factors, recommend_scores
from models.training.first_stage import FirstStage
from models.training.past_requests import Past, Requests
from models.training.training_data import TrainingData

DAY_MS = 86_400_000
WEEK = 7
HALF_LIVES_MS = tuple(days * float(DAY_MS) for days in (15, 30, 60, 90, 180, 100_000))
"""Of a user's own events; the last one is none."""
RECENT_MS = 14.0 * DAY_MS
_SHARES = 0.005, 0.3  # the part of the events that a week must be, to be the window
_POINTS = ((4.0, 1.0), (16.0, 1.0), (16.0, 4.0), (50.0, 4.0), (100.0, 4.0), (100.0, 10.0))
"""Regularization and alpha of ALS."""
Mode = Literal["all", "new"]


@dataclass(frozen=True)
class Week:
    """Rows before the cut and in the window after it; `at_ms` is the moment of the cut, and `text` says where it is."""

    train: np.ndarray
    window: np.ndarray
    at_ms: float
    text: str


def has_repeats(data: TrainingData) -> bool:
    """Whether any user has an item more than once."""
    pairs = data.user * len(data.items) + data.item
    return len(np.unique(pairs)) < len(pairs)


def last_week(data: TrainingData) -> Week:
    """The last seven calendar days (UTC); the last tenth of the events where they hold too few or too many of them."""
    cut_ms = (int(data.times_ms.max()) // DAY_MS - (WEEK - 1)) * DAY_MS
    inside = data.times_ms >= cut_ms
    if _SHARES[0] <= inside.mean() <= _SHARES[1]:
        train, window = np.flatnonzero(~inside), np.flatnonzero(inside)
        day = np.datetime64(cut_ms, "ms").astype("datetime64[D]")
        return Week(train, window, float(cut_ms), f"the seven days from {day}")
    train = data.before(0.9)
    window = np.setdiff1d(np.arange(len(data)), train)
    return Week(train, window, float(data.times_ms[train].max()), "the last tenth of the events")


def with_repeats(types: EventTypes, mode: Mode) -> EventTypes:
    """The same meanings, but nothing is left out for having been had ("all"), or everything ("new")."""
    return EventTypes({name: one.model_copy(update={"seen": mode == "new"}) for name, one in types.by_name.items()})


def week_requests(data: TrainingData, week: Week, relevant_rows: np.ndarray, known_items: np.ndarray) -> Requests:
    """One request at the cut for each user with a history and something relevant that lists may hold."""
    shape = (len(data.users), len(data.items))
    had = np.bincount(data.user[week.train], minlength=shape[0]) > 0
    rows = relevant_rows[known_items[data.item[relevant_rows]] & had[data.user[relevant_rows]]]
    relevant = pairs_to_mask(data.user[rows], data.item[rows], *shape)
    past = Past(data, week.train)
    users = np.flatnonzero(np.diff(relevant.indptr))
    before = np.full(len(users), int(data.turn[week.train].max()) + 1)
    return past.requests(
        users, before, np.full(len(users), week.at_ms), sp.csr_matrix(relevant[users], dtype=np.float32)
    )


def repeats(bench: ProtocolData, note: Note) -> list[Contender]:
    """P5's arms, for both modes."""
    week = last_week(bench.data)
    note(f"P5: the window is {week.text}: {len(week.window):,} events after {len(week.train):,}")
    half_life_ms, parameters = _choose(bench, week.train, note)
    found: list[Contender] = []
    for mode in ("all", "new"):
        found += _mode(bench, week, mode, half_life_ms, parameters, note)
    return found


def _mode(
    bench: ProtocolData, week: Week, mode: Mode, half_life_ms: float, parameters: AlsParameters, note: Note
) -> list[Contender]:
    bench = replace(bench, data=replace(bench.data, types=with_repeats(bench.data.types, mode)))
    data, train = bench.data, week.train
    clock = Clock()
    stage = fit_stage(bench, train, parameters)
    fitting_s = clock()
    requests, seen = _asked(bench, stage, week, mode)
    if not len(requests):
        note(f"P5 {mode}: nobody has anything relevant in the window")
        return []
    note(f"P5 {mode}: {len(requests):,} users, {requests.relevant.nnz:,} relevant")
    clock()
    arms = {"popularity": Answer(_most_events(data, train, seen, stage.known_items), clock())}
    age = np.exp2((data.times_ms[train] - week.at_ms) / RECENT_MS)
    recent = np.bincount(data.item[train], age, len(data.items))
    arms["recent popularity"] = Answer(recommend_scores(recent, seen, K, stage.known_items), clock())
    if mode == "all":
        for name, half_life in (("personal frequency", HALF_LIVES_MS[-1]), ("personal, recent", half_life_ms)):
            arms[name] = Answer(personal_frequency(data, requests, seen, stage.known_items, half_life), clock())
    others = baselines(stage, requests, seen, train)
    arms |= {name: answer for name, answer in others.items() if name not in arms}
    fitted = None
    if bench.ranker:
        clock()
        fitted = served_ranker(bench, train, parameters, lambda line: note(f"P5 {mode}: {line}"))
        fitting_s += clock()
    arms |= served_arms(stage, requests, bench.recipe(parameters), {"ALS + ranker": fitted}, fitting_s)
    return contenders(f"P5 {mode}", arms, requests, stage)


def _asked(bench: ProtocolData, stage: FirstStage, week: Week, mode: Mode) -> tuple[Requests, sp.csr_matrix]:
    """The requests, and what their lists leave out."""
    requests = week_requests(bench.data, week, bench.relevant_rows(week.window), stage.known_items)
    seen = left_out_of(stage, requests)
    relevant = sp.csr_matrix(requests.relevant - requests.relevant.multiply(seen))
    relevant.eliminate_zeros()
    relevant.sort_indices()
    requests = replace(requests, relevant=relevant)
    requests = sampled(requests.some(np.flatnonzero(np.diff(relevant.indptr))), bench.seed)
    return requests, left_out_of(stage, requests)


def _most_events(data: TrainingData, train: np.ndarray, seen: sp.csr_matrix, known_items: np.ndarray) -> np.ndarray:
    counts = np.bincount(data.item[train], minlength=len(data.items)).astype(np.float64)
    return recommend_scores(counts, seen, K, known_items)


def _choose(bench: ProtocolData, train: np.ndarray, note: Note) -> tuple[float, AlsParameters]:
    """The half-life of a user's own events and the ALS parameters that do best on the week before the window."""
    data = bench.data.rows(train)
    data = replace(data, types=with_repeats(data.types, "all"))
    before = replace(bench, data=data)
    week = last_week(data)
    points = [AlsParameters(regularization=regularization, alpha=alpha) for regularization, alpha in _POINTS]
    if bench.fixed is not None:
        points = [bench.fixed["P5"]]
    stage = fit_stage(before, week.train, points[0])
    requests, seen = _asked(before, stage, week, "all")
    if not len(requests):
        note("P5: nobody to choose parameters on in the week before; taking the defaults")
        return HALF_LIVES_MS[2], points[0]

    def own(half_life_ms: float) -> float:
        lists = personal_frequency(data, requests, seen, stage.known_items, half_life_ms)
        return float(user_metrics(lists, requests.relevant).ndcg.mean())

    half_life_ms = max(HALF_LIVES_MS, key=own)
    found = {}
    for point in points:
        fitted = stage if point is points[0] else fit_stage(before, week.train, point)
        vectors = fitted.factors.user_factors[requests.user]
        lists = recommend_factors(vectors, fitted.factors.item_factors, seen, K, fitted.known_items)
        found[point] = float(user_metrics(lists, requests.relevant).ndcg.mean())
    best = max(points, key=found.__getitem__)
    note(
        f"P5: chosen on the week before, of {len(HALF_LIVES_MS)} half-lives and {len(points)} points: "
        f"{half_life_ms / DAY_MS:g} days, regularization {best.regularization:g}, alpha {best.alpha:g}"
    )
    return half_life_ms, best
