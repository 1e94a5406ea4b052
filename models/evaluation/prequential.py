"""P4 as a plain simulation: before each event the model is asked, then it learns of the event.

What `jobs.replay` measures over HTTP, measured here on the same functions without the system around them.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from data.splits import replay_split
from models.evaluation.baselines import HALF_LIFE_MS, may_come_again, personal_frequency, request_histories
from models.evaluation.contenders import Answer, Clock, Contender, K, Note, ProtocolData, contenders, fit_stage
from models.evaluation.served import SEQUENCE, fit_sequence_model, ranked_answer, sequence_lists
from models.retrieval.whole_catalogue import recommend_factors, recommend_scores, top_k
from models.training.event_walks import popularity_walk
from models.training.first_stage import FirstStage, find_candidates
from models.training.past_requests import Past, Requests, excluded_items, in_store_order
from models.training.ranker_windows import RANKER, early_stages, learn, lists_after
from models.training.source_choice import EarlyRequests, choose_sources
from models.training.training_data import places

MOST_EVENTS = 20_000  # that are asked about, a random choice where there are more; all are learned from
_MOST_OF_ONE = 200  # of one user, where there are more: each request holds its whole history


@dataclass(frozen=True)
class Replay:
    """Rows of the bench's data: `train` rising, `events` in the order in which they are replayed."""

    train: np.ndarray
    events: np.ndarray


def replay_rows(bench: ProtocolData) -> Replay:
    """The protocol's split: ties in time are in a random but fixed order."""
    row_of = np.argsort(bench.source_row)
    times = bench.data.times_ms[row_of]  # in the order of the source file
    split = replay_split(times)
    return Replay(np.sort(row_of[split.train]), row_of[split.test])


def replay_requests(bench: ProtocolData, replay: Replay, known_items: np.ndarray) -> Requests:
    """One request before each relevant event whose item the training part knows; only that item is right."""
    data = bench.data
    order = np.concatenate([replay.train[np.argsort(data.turn[replay.train])], replay.events])
    past = Past(data, turns=places(order))
    right = np.isin(replay.events, bench.relevant_rows(replay.events)) & known_items[data.item[replay.events]]
    asked = _bounded(np.flatnonzero(right), data.user[replay.events], bench.seed)
    rows = replay.events[asked]
    relevant = sp.csr_matrix(
        (np.ones(len(rows), np.float32), (np.arange(len(rows)), data.item[rows])), shape=(len(rows), len(known_items))
    )
    return past.requests(data.user[rows], len(replay.train) + asked, data.times_ms[rows].astype(np.float64), relevant)


def prequential(bench: ProtocolData, note: Note) -> list[Contender]:
    """P4's arms; the unit is the event. A user without any history gets what is popular just then."""
    replay = replay_rows(bench)
    data = bench.data
    parameters = bench.parameters("P4", replay.train, note)
    clock = Clock()
    stage = fit_stage(bench, replay.train, parameters)
    fitting_s = clock()
    requests = replay_requests(bench, replay, stage.known_items)
    note(f"P4: {len(requests):,} events on known items")
    if not len(requests):
        return []
    seen = excluded_items(data, requests.rows, bench.weighting)
    counts = np.diff(stage.weights.tocsc().indptr).astype(np.float64)
    clock()
    popular = recommend_scores(counts, seen, K, stage.known_items)
    answers = {"popularity": Answer(popular, clock())}
    trained = (np.diff(stage.weights.indptr) > 0)[requests.user]
    frozen = recommend_factors(
        stage.factors.user_factors[requests.user], stage.factors.item_factors, seen, K, stage.known_items
    )
    answers["ALS, users frozen"] = Answer(np.where(trained[:, None], frozen, popular), fitting_s + clock())
    trending = _trending(stage, requests, seen)
    answers["recent popularity"] = Answer(trending, clock())
    histories = request_histories(stage, requests)
    if may_come_again(histories, seen):
        own = personal_frequency(data, requests, seen, stage.known_items, HALF_LIFE_MS)
        answers["personal frequency"] = Answer(own, clock())
    history = np.array([len(rows) > 0 for rows in requests.rows])[:, None]
    folded = find_candidates(stage, requests, K).items
    answers["ALS with fold-in"] = Answer(np.where(history, folded, trending), fitting_s + clock())
    if bench.sequence is not None:
        fitted_sequence, cpu_s = fit_sequence_model(bench, data, replay.train, note)
        found = sequence_lists(stage, fitted_sequence, requests, cpu_s)
        answers[SEQUENCE] = found._replace(items=np.where(history, found.items, trending), scores=None)
    if bench.ranker:
        recipe = bench.recipe(parameters)
        first = in_store_order(data.rows(replay.train))
        stages = list(early_stages(first, bench.catalogue, recipe, 1.0, bench.seed, bench.threads))
        asked = EarlyRequests(stages, recipe)
        more, sources = choose_sources(asked, recipe, RANKER, bench.seed, bench.threads)
        made = asked.whole_lists(more)
        note(f"P4: further candidates: {sources}")
        recipe = replace(recipe, more=more)
        rows = [
            made[number] if number in made else lists_after(early, *window, recipe)
            for number, (window, early) in enumerate(stages)
        ]
        fitted = learn(rows, RANKER, bench.seed, threads=1)
        del stages, rows, asked, made
        note(f"P4: ranker learned from {fitted.lists if fitted is not None else 0:,} lists before the replay")
        if fitted is not None:
            fitted = replace(fitted, more=more)
            best, cpu_s, scores = ranked_answer(stage, fitted, requests, recipe, fitting_s + clock())
            answers["ALS with fold-in + ranker"] = Answer(np.where(history, best, trending), cpu_s, scores)
    return contenders("P4 simulated", answers, requests, stage)


def _bounded(asked: np.ndarray, user: np.ndarray, seed: int) -> np.ndarray:
    """Of the places `asked` all, or a random choice of so many that time and memory stay bounded; rising."""
    if len(asked) <= MOST_EVENTS:
        return asked
    chosen = np.random.default_rng(seed).permutation(asked)[:MOST_EVENTS]
    order = np.argsort(user[chosen], kind="stable")
    same = user[chosen][order]
    turn = np.arange(len(same)) - np.searchsorted(same, same)
    return np.sort(chosen[order[turn < _MOST_OF_ONE]])


def _trending(stage: FirstStage, requests: Requests, seen: sp.csr_matrix) -> np.ndarray:
    walk = popularity_walk(stage, requests)
    best = np.empty((len(requests), K), np.int64)
    for place in range(len(requests)):  # in the order of the replay, so the walk goes forward
        walk.advance(int(requests.visible[place]))
        heat = walk.weekly_shares()
        heat[seen.indices[seen.indptr[place] : seen.indptr[place + 1]]] = -1.0
        best[place] = top_k(heat[None, :], K)[0]
    return best
