"""The fixed protocols: P1 the published random split, P2 rolling in time, P3 new users.

They run on any data set; the published numbers, and the fingerprints of the splits, are those of MovieLens 100K.

Each gives arms: recommendations of one model for the same users, judged user by user.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from configs.event_types import Weighting
from data.dataset import Dataset
from data.fields.frames import frame_attributes
from data.matrix import pairs_to_csr, pairs_to_mask
from data.splits import Split, benchmark_split, rolling_windows, time_order
from models.batch_only.split_training import gain_text, learn_from_splits, rank_lists, side_scores
from models.evaluation.baselines import ease_scores, item_knn_scores, popularity_scores, recent_popularity_scores
from models.evaluation.metrics import UserMetrics, user_metrics
from models.factors.als import AlsParameters, fit_als
from models.factors.fold_in import FoldIn
from models.ranking.item_relations import LIMIT
from models.retrieval.whole_catalogue import recommend_factors, recommend_scores, top_k
from models.training.first_stage import (
    FirstStage,
    find_candidates,
    fit_first_stage,
    request_interest,
)
from models.training.item_facts import ItemFacts, descriptions_of, frame_descriptions, frame_facts, known_attributes
from models.training.past_requests import (
    Requests,
    excluded_items,
    rows_by_user,
    rows_in_store_order,
    user_requests,
    window_requests,
)
from models.training.ranker_lists import ranker_rows, rerank
from models.training.ranker_windows import RANKER, FittedRanker, Recipe, learn
from models.training.training_data import TrainingData, places

K = 10
# Chosen on inner splits of P1's training part (search_space.yaml); 15 iterations, .5 where rated <= 2 ("consumption").
PARAMETERS = AlsParameters(regularization=32.0, alpha=4.0)
NEW_USER_PARAMETERS = AlsParameters(regularization=50.0, alpha=8.0)
CANDIDATES = 100
TRENDING = 50
P2_CUTOFFS = (0.6, 0.7, 0.8, 0.9)
P2_LEARNING = tuple(round(0.2 + 0.05 * step, 2) for step in range(13))  # .2 to .8
P2_CONTEXTS = (0, 5, 10)
FEWEST = {5: 10, 10: 15}
P3_KNOWN = (0, 1, 3, 5, 10, 20)
Note = Callable[[str], None]


@dataclass(frozen=True)
class Contender:
    """One model's answers.

    Attributes:
        protocol: "P1", "P2 warm", "P3 k=5", ...
        recommended: (n, K) int, -1 padded.
        metrics: one value of each metric for each user.
        activity: (n,) events in the history of each user.
        counts: (n_items,) users of each item in training, for novelty; 0 for unknown items.
    """

    protocol: str
    name: str
    recommended: np.ndarray
    metrics: UserMetrics
    activity: np.ndarray
    counts: np.ndarray
    n_train_users: int


@dataclass(frozen=True)
class ProtocolData:
    """The data set, ready for every protocol. `data` is in store order; `source_row` leads back to the file's order."""

    dataset: Dataset
    data: TrainingData
    source_row: np.ndarray
    catalogue: ItemFacts
    weighting: Weighting
    ranker: bool
    seed: int = 0
    threads: int = 0

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.weighting, PARAMETERS, 0.5, CANDIDATES, TRENDING)

    @property
    def least(self) -> float:
        """Confidence above which an event is relevant: a rating of 3 has .5 under "preference" and is not."""
        return 0.0 if self.weighting == "consumption" else 0.5

    def relevant_rows(self, rows: np.ndarray) -> np.ndarray:
        """Those that count as relevant: all under "consumption", ratings of 4 and more (and what speaks as clearly)
        under "preference"."""
        if self.weighting == "consumption":
            return rows
        return rows[
            self.data.types.confidence(self.data.codes[rows], self.data.values[rows], "preference") > self.least
        ]


def open_bench(dataset: Dataset, data: TrainingData, weighting: Weighting, ranker: bool, seed: int = 0) -> ProtocolData:
    """Put the events in store order and remember where each came from."""
    source = rows_in_store_order(data)
    marked = data.rows(source)
    of_items, of_users = (
        dict(zip(frame[name], frame_attributes(frame, schema), strict=True))
        for frame, name, schema in (
            (dataset.items, "item_id", dataset.item_attributes),
            (dataset.users, "user_id", dataset.user_attributes),
        )
    )
    known = known_attributes(
        marked.items, of_items, dataset.item_attributes, marked.users, of_users, dataset.user_attributes
    )
    facts = replace(
        frame_facts(marked.items, dataset.items),
        attributes=known,
        described=descriptions_of(marked.items, frame_descriptions(dataset.items, of_items), dataset.item_attributes),
    )
    return ProtocolData(dataset, marked, source, facts, weighting, ranker, seed)


def benchmark(bench: ProtocolData, note: Note) -> list[Contender]:
    """P1: the arms on the published random split, over users with something relevant in its test part."""
    bench = replace(bench, catalogue=replace(bench.catalogue, attributes=None))  # the second stage of P1 reads none
    data, shape = bench.data, (len(bench.data.users), len(bench.data.items))
    # The positions of whole numbers are in their order, so that MovieLens is split as published.
    split = benchmark_split(data.items.encode(bench.dataset.interactions["item_id"]))
    train = np.flatnonzero(np.isin(bench.source_row, split.train))
    test = bench.relevant_rows(np.flatnonzero(np.isin(bench.source_row, split.test)))
    stage = _fit(bench, train)
    seen = excluded_items(data, rows_by_user(data, train, shape[0]), bench.weighting)
    relevant = pairs_to_mask(data.user[test], data.item[test], *shape)
    requests = user_requests(data, train, relevant)
    users = requests.user
    note(f"P1: {len(users)} users, {len(test):,} relevant")
    arms = _baselines(stage, requests, seen[users], train)
    factors = stage.factors
    arms["ALS"] = recommend_factors(
        factors.user_factors[users], factors.item_factors, seen[users], K, stage.known_items
    )
    if bench.ranker:
        # No trending candidates: the held-out ratings are of the same time as the others.
        recipe = Recipe(bench.weighting, PARAMETERS, 0.5, CANDIDATES, 0)
        fitted = learn_from_splits(data, train, bench.catalogue, recipe, bench.seed, bench.threads)
        if fitted is None:
            note("P1: the ranker wins nothing on an inner split and is left out")
        else:
            note(f"P1: ranker learned from {fitted.lists} lists of inner splits, {gain_text(fitted.gain)} on another")
            side = side_scores(stage, train, recipe, bench.seed, bench.threads)
            candidates = find_candidates(stage, requests, CANDIDATES)
            arms["ALS + ranker"] = rank_lists(stage, side, fitted.ranker, requests, candidates, K)
    return _arms("P1", arms, requests, stage)


def rolling(bench: ProtocolData, note: Note) -> list[Contender]:
    """P2: warm users and sessions, pooled over the windows."""
    data = bench.data
    # The protocol's order: by (time, user, item).
    data = replace(data, turn=places(time_order(data.times_ms, data.user, data.item)))
    cutoffs = (*P2_LEARNING, 0.9)
    windows = dict(zip(cutoffs, rolling_windows(data.times_ms, data.user, data.item, cutoffs), strict=True))
    stages: dict[float, FirstStage] = {}
    rows = {}
    for cutoff in P2_LEARNING if bench.ranker else ():
        stage = _fit(bench, windows[cutoff].train)
        if cutoff in P2_CUTOFFS:
            stages[cutoff] = stage
        requests = window_requests(
            data, *_parts(windows[cutoff]), P2_CONTEXTS, FEWEST, stage.known_items, bench.weighting
        )
        rows[cutoff] = ranker_rows(stage, requests, find_candidates(stage, requests, CANDIDATES, TRENDING))
    found: list[Contender] = []
    for cutoff in P2_CUTOFFS:
        train, window = _parts(windows[cutoff])
        stage = stages.get(cutoff) or _fit(bench, train)
        fitted: FittedRanker | None = None
        reading: FittedRanker | None = None
        if bench.ranker:
            # A window of width .1 must have closed before the cutoff opens.
            earlier = [rows[early] for early in rows if early + 0.1 <= cutoff + 1e-9]
            fitted = learn(earlier, RANKER, bench.seed, 1)
            if used := bench.catalogue.used:
                reading = learn(earlier, RANKER, bench.seed, 1, attributes=used)
            lists = fitted.lists if fitted is not None else 0
            note(f"P2: cutoff {cutoff}: ranker learned from {lists} lists of earlier windows")
        for name, context in (("warm", 0), ("session", 10)):
            requests = window_requests(
                data, train, window, (context,), FEWEST, stage.known_items, bench.weighting, least=bench.least
            )
            if not len(requests):
                note(f"P2: cutoff {cutoff}: nobody to ask, {name}")
                continue
            requests.relevant.data[:] = 1.0  # the protocol knows no more and less relevant
            found += _arms(f"P2 {name}", _window_arms(stage, requests, train, fitted, reading), requests, stage)
    return _pooled(found)


def new_users(bench: ProtocolData, note: Note) -> list[Contender]:
    """P3: users whom the model has never seen, after k events."""
    data, shape = bench.data, (len(bench.data.users), len(bench.data.items))
    generator = np.random.default_rng(bench.seed)
    fold_of = generator.permutation(shape[0]) % 5
    arms: list[Contender] = []
    for fold in range(5):
        held = fold_of[data.user] == fold
        part = data.rows(np.flatnonzero(~held)).interest(bench.weighting)
        weights = pairs_to_csr(part.users, part.items, part.weights, *shape)
        counts = popularity_scores(weights)
        fitted = fit_als(weights, NEW_USER_PARAMETERS, bench.seed, bench.threads)
        prior = fitted.user_factors[np.diff(weights.indptr) > 0].mean(axis=0)
        histories = []
        for user in np.flatnonzero(fold_of == fold):
            mine = np.flatnonzero(data.user == user)
            if len(mine) >= 25:
                histories.append(generator.permutation(mine))
        if not histories:
            continue
        later = [bench.relevant_rows(mine[20:]) for mine in histories]
        later = [rows[counts[data.item[rows]] > 0] for rows in later]
        relevant = _pairs([data.item[rows] for rows in later], shape[1])
        for k in P3_KNOWN:
            known = [data.item[mine[:k]] for mine in histories]
            seen = _pairs(known, shape[1])
            own = [
                data.types.confidence(data.codes[mine[:k]], data.values[mine[:k]], bench.weighting)
                for mine in histories
            ]
            answers = {"popularity": recommend_scores(counts, seen, K, counts > 0)}
            for name, weight in (("plain fold-in", 0.0), ("fold-in with prior", 0.5)):
                solver = FoldIn(
                    fitted.item_factors, NEW_USER_PARAMETERS.regularization, NEW_USER_PARAMETERS.alpha, prior, weight
                )
                vectors, solved = solver.solve(known, own)
                best = recommend_factors(vectors, fitted.item_factors, seen, K, counts > 0)
                # Without any history there is no vector: popularity, as online.
                answers[name] = np.where(solved[:, None], best, answers["popularity"])
            size = np.full(len(histories), k)
            arms += [
                Contender(f"P3 k={k}", name, best, user_metrics(best, relevant), size, counts, shape[0])
                for name, best in answers.items()
            ]
        note(f"P3: fold {fold + 1} of 5, {len(histories)} users")
    if not arms:
        note("P3: no user has 25 events; the protocol asks nobody")
    return _pooled(arms)


def _fit(bench: ProtocolData, train: np.ndarray) -> FirstStage:
    return fit_first_stage(bench.data, train, bench.weighting, PARAMETERS, bench.catalogue, bench.seed, bench.threads)


def _parts(split: Split) -> tuple[np.ndarray, np.ndarray]:
    return split.train, split.test


def _baselines(stage: FirstStage, requests: Requests, seen: sp.csr_matrix, train: np.ndarray) -> dict[str, np.ndarray]:
    data, known, n_items = stage.data, stage.known_items, len(stage.known_items)
    items, weights = request_interest(stage, requests)
    histories = _pairs([own[weight > 0] for own, weight in zip(items, weights, strict=True)], n_items)
    recent = recent_popularity_scores(data.item[train], data.times_ms[train], n_items)

    def personal(scores: np.ndarray) -> np.ndarray:
        scores = scores.astype(np.float64)
        scores[np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr)), seen.indices] = -np.inf
        scores[:, ~known] = -np.inf
        return top_k(scores, K)

    found = {
        "popularity": recommend_scores(popularity_scores(stage.weights), seen, K, known),
        "recent popularity": recommend_scores(recent, seen, K, known),
    }
    if n_items <= LIMIT:  # both are dense
        found["item-kNN"] = personal(item_knn_scores(stage.weights, histories))
        found["EASE"] = personal(ease_scores(stage.weights, histories))
    return found


def _window_arms(
    stage: FirstStage,
    requests: Requests,
    train: np.ndarray,
    fitted: FittedRanker | None,
    reading: FittedRanker | None,
) -> dict[str, np.ndarray]:
    seen = excluded_items(stage.data, requests.rows, stage.weighting)
    arms = _baselines(stage, requests, seen, train)
    arms["ALS"] = find_candidates(stage, requests, K).items
    for name, ranker in (("ALS + ranker", fitted), ("ALS + ranker with attributes", reading)):
        if ranker is not None:
            candidates = find_candidates(stage, requests, CANDIDATES, TRENDING)
            arms[name] = rerank(stage, ranker.ranker, requests, candidates, K)
    return arms


def _arms(protocol: str, answers: dict[str, np.ndarray], requests: Requests, stage: FirstStage) -> list[Contender]:
    activity = np.array([len(rows) for rows in requests.rows])
    counts = popularity_scores(stage.weights)
    n_users = int((np.diff(stage.weights.indptr) > 0).sum())
    return [
        Contender(protocol, name, best, user_metrics(best, requests.relevant), activity, counts, n_users)
        for name, best in answers.items()
    ]


def _pooled(arms: Sequence[Contender]) -> list[Contender]:
    """Arms of one protocol and name become one: their users together."""
    groups: dict[tuple[str, str], list[Contender]] = {}
    for arm in arms:
        groups.setdefault((arm.protocol, arm.name), []).append(arm)
    pooled = []
    for (protocol, name), parts in groups.items():
        fields = UserMetrics.__dataclass_fields__
        metrics = UserMetrics(**{f: np.concatenate([getattr(part.metrics, f) for part in parts]) for f in fields})
        pooled.append(
            Contender(
                protocol,
                name,
                np.concatenate([part.recommended for part in parts]),
                metrics,
                np.concatenate([part.activity for part in parts]),
                parts[-1].counts,
                parts[-1].n_train_users,
            )
        )
    return sorted(pooled, key=lambda arm: list(dict.fromkeys(a.protocol for a in arms)).index(arm.protocol))


def _pairs(items: Sequence[np.ndarray], n_items: int) -> sp.csr_matrix:
    rows = np.repeat(np.arange(len(items)), [len(mine) for mine in items])
    return pairs_to_mask(rows, np.concatenate([np.empty(0, np.int64), *items]).astype(np.int64), len(items), n_items)
