"""P4 as a plain simulation: before each event the model is asked, then it learns of the event.

What `jobs.replay` measures over HTTP, measured here on the same functions without the system around them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from data.matrix import pairs_to_mask
from data.splits import replay_split
from models.evaluation.metrics import user_metrics
from models.evaluation.protocols import Contender, ProtocolData
from models.factors.als import AlsParameters
from models.retrieval.whole_catalogue import recommend_factors, recommend_scores
from models.training.first_stage import FirstStage, find_candidates, fit_first_stage, popularity_walk
from models.training.past_requests import Past, Requests, in_store_order
from models.training.ranker_lists import rerank
from models.training.ranker_windows import RANKER, Recipe, learn, lists_before
from models.training.training_data import places

K = 10
N_TRAIN = 80_000
PARAMETERS = AlsParameters(regularization=30.0, alpha=4.0)


@dataclass(frozen=True)
class Replay:
    """Rows of the bench's data: `train` rising, `events` in the order in which they are replayed."""

    train: np.ndarray
    events: np.ndarray


def replay_rows(bench: ProtocolData, n_train: int = N_TRAIN) -> Replay:
    """The protocol's split: ties in time are in a random but fixed order."""
    row_of = np.argsort(bench.source_row)
    times = bench.data.times_ms[row_of]  # in the order of the source file
    split = replay_split(times, n_train)
    return Replay(np.sort(row_of[split.train]), row_of[split.test])


def replay_requests(bench: ProtocolData, replay: Replay, known_items: np.ndarray) -> Requests:
    """One request before each relevant event whose item the training part knows; only that item is right."""
    data = bench.data
    order = np.concatenate([replay.train[np.argsort(data.turn[replay.train])], replay.events])
    past = Past(data, turns=places(order))
    right = np.isin(replay.events, bench.relevant_rows(replay.events)) & known_items[data.item[replay.events]]
    asked = np.flatnonzero(right)
    rows = replay.events[asked]
    relevant = sp.csr_matrix(
        (np.ones(len(rows), np.float32), (np.arange(len(rows)), data.item[rows])), shape=(len(rows), len(known_items))
    )
    return past.requests(data.user[rows], len(replay.train) + asked, data.times_ms[rows].astype(np.float64), relevant)


def prequential(bench: ProtocolData, note: Callable[[str], None]) -> list[Contender]:
    """P4's arms; the unit is the event. A user without any history gets what is popular just then."""
    replay = replay_rows(bench)
    data = bench.data
    stage = fit_first_stage(data, replay.train, bench.weighting, PARAMETERS, bench.catalogue, bench.seed, bench.threads)
    requests = replay_requests(bench, replay, stage.known_items)
    note(f"P4: {len(requests):,} events on known items")
    n_items = len(stage.known_items)
    seen = pairs_to_mask(
        np.repeat(np.arange(len(requests)), [len(rows) for rows in requests.rows]),
        data.item[np.concatenate(requests.rows)],
        len(requests),
        n_items,
    )
    counts = np.diff(stage.weights.tocsc().indptr).astype(np.float64)
    popular = recommend_scores(counts, seen, K, stage.known_items)
    trending = _trending(stage, requests, seen)
    trained = (np.diff(stage.weights.indptr) > 0)[requests.user]
    frozen = recommend_factors(
        stage.factors.user_factors[requests.user], stage.factors.item_factors, seen, K, stage.known_items
    )
    history = np.array([len(rows) > 0 for rows in requests.rows])
    folded = find_candidates(stage, requests, K).items
    answers = {
        "popularity": popular,
        "ALS, users frozen": np.where(trained[:, None], frozen, popular),
        "recent popularity": trending,
        "ALS with fold-in": np.where(history[:, None], folded, trending),
    }
    if bench.ranker:
        recipe = Recipe(bench.weighting, PARAMETERS, 0.5, 100, 50)
        first = in_store_order(data.rows(replay.train))
        lists = lists_before(first, bench.catalogue, recipe, 1.0, bench.seed, bench.threads)
        fitted = learn(lists, RANKER, bench.seed, threads=1)
        assert fitted is not None
        note(f"P4: ranker learned from {fitted.lists:,} lists before the replay")
        candidates = find_candidates(stage, requests, recipe.candidates, recipe.trending)
        best = rerank(stage, fitted.ranker, requests, candidates, K)
        answers["ALS with fold-in + ranker"] = np.where(history[:, None], best, trending)
    sizes = np.array([len(rows) for rows in requests.rows])
    return [
        Contender(
            "P4 simulated", name, best, user_metrics(best, requests.relevant), sizes, counts, stage.weights.shape[0]
        )
        for name, best in answers.items()
    ]


def _trending(stage: FirstStage, requests: Requests, seen: sp.csr_matrix) -> np.ndarray:
    walk = popularity_walk(stage, requests)
    best = np.empty((len(requests), K), np.int64)
    for place in range(len(requests)):  # in the order of the replay, so the walk goes forward
        walk.advance(int(requests.visible[place]))
        heat = walk.shares()[1]
        heat[seen.indices[seen.indptr[place] : seen.indptr[place + 1]]] = -1.0
        best[place] = np.argsort(-heat, kind="stable")[:K]
    return best
